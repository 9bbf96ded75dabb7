"""Folders of this machine: their media files, read in place."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from orchestrator.domain.media_files import is_media
from orchestrator.domain.remote import ListedObject, SkipReason
from orchestrator.domain.spec import MediaObject
from orchestrator.domain.wording import quoted
from orchestrator.errors import ConfigError
from orchestrator.manifest.manifest import STEMS_BUCKET
from orchestrator.manifest.schema.inputs import PrefixInput
from orchestrator.manifest.schema.vendor_limits import key_fault
from orchestrator.manifest.sources.globs import Filter
from orchestrator.manifest.sources.item import Skipped, SourceItem
from orchestrator.manifest.sources.prefix import PrefixListing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator
    from typing import Protocol

    from orchestrator.domain.ports import Clock, ObjectStore
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.schema.inputs import FolderInput
    from orchestrator.manifest.schema.job_settings import JobSettings

    class _Entry(Protocol):
        """Entry of a folder, as far as the walk asks ``os.DirEntry`` about it."""

        @property
        def name(self) -> str: ...
        @property
        def path(self) -> str: ...
        def is_symlink(self) -> bool: ...
        def is_dir(self, *, follow_symlinks: bool = True) -> bool: ...
        def is_file(self, *, follow_symlinks: bool = True) -> bool: ...


BATCH = 50
"""Files per batch. Each is read once for its MD5, and the first job need not wait for many."""
AT_ONCE = 4
"""Files that are read at one time: what the storage does at once."""
SEPARATE_MANIFEST = ".separate.yaml"
"""Manifest that ``separate`` writes into the folder of its stems, which marks that folder."""
STEM_NAMES = ".orchestrator/names.json"
"""File in that folder that says which of its subfolders have stems."""
_OWN_FOLDERS = frozenset({".orchestrator", ".service"})
_BY_SIZE = ("min_size", "max_size", "min_age", "max_age", "modified_from", "modified_to")


class MediaFiles:
    """Walks a folder in the order of the keys, in the memory of its largest subfolder.

    Args:
        folder: The folder.
        leave_out: Real paths of folders and files that are not looked at and not counted.
        counts: Function that returns True for the path of a file that is counted if it is skipped.

    Attributes:
        skipped: The files that are not inputs, up to where the walk has come.
    """

    def __init__(
        self,
        folder: Path,
        leave_out: Collection[str] = (),
        counts: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.folder = folder
        self.skipped = Skipped()
        self._leave_out = leave_out
        self._counts = counts

    def __iter__(self) -> Iterator[ListedObject]:
        """Yield the media files, without their MD5.

        Raises:
            OSError: If the folder itself cannot be read.
        """
        stack = [self._entries(os.path.realpath(self.folder), "")]
        while stack:
            entry = next(stack[-1], None)
            if entry is None:
                stack.pop()
                continue
            key, path, is_folder = entry
            if not is_folder:
                with contextlib.suppress(FileNotFoundError):  # deleted since
                    stat = os.stat(path)  # noqa: PTH116 - a Path for each file is slow
                    yield ListedObject(key, stat.st_size, "", stat.st_mtime)
                continue
            try:
                stack.append(self._entries(path, f"{key}/"))
            except OSError:
                self.skipped.add(SkipReason.UNREADABLE, f"{key}/")

    def _entries(self, folder: str, above: str) -> Iterator[tuple[str, str, bool]]:
        """Return key and path of the media files and subfolders of a folder, in order."""
        stems = _stems_in(folder) or ()
        with os.scandir(folder) as entries:
            found = [
                (f"{above}{entry.name}", entry.path, entry.is_dir(follow_symlinks=False))
                for entry in sorted(entries, key=lambda each: each.name)  # for the names shown
                if self._takes(entry, above, stems)
            ]
        # A slash after each folder: then the walk has the order of the whole keys.
        return iter(sorted(found, key=lambda each: f"{each[0]}/" if each[2] else each[0]))

    def _takes(self, entry: os.DirEntry[str], above: str, stems: Collection[str]) -> bool:
        if entry.name in _OWN_FOLDERS or entry.path in self._leave_out:
            return False
        if not above and entry.name in stems:  # of the walked folder itself; they are expected
            return False
        reason = _reason(entry, f"{above}{entry.name}", stems)
        if reason is not None:
            name = f"{above}{entry.name}{'/' if entry.is_dir(follow_symlinks=False) else ''}"
            if self._counts(name):
                self.skipped.add(reason, _printable(name))
        return reason is None


def _printable(name: str) -> str:
    """Return a name with its bytes that are not UTF-8 escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _stems_in(folder: str) -> Collection[str] | None:
    """Return the names of the subfolders that ``separate`` wrote stems to.

    None if it wrote none here; empty if its notes cannot be read.
    """
    if not os.path.lexists(f"{folder}/{SEPARATE_MANIFEST}"):
        return None
    try:
        kept = orjson.loads(Path(folder, STEM_NAMES).read_bytes())
        return frozenset(map(str, kept["stems"]))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def _has_only_stems(folder: str) -> bool:
    """Return True for an output folder of ``separate`` with nothing else in it.

    Where it is not known what is a stem, everything is.
    """
    stems = _stems_in(folder)
    if not stems:
        return stems is not None
    try:
        with os.scandir(folder) as entries:
            return all(entry.name in stems or entry.name.startswith(".") for entry in entries)
    except OSError:
        return False  # the walk says so


def _reason(entry: _Entry, key: str, stems: Collection[str] = ()) -> SkipReason | None:
    """Return why a file or subfolder is skipped; None if it is not.

    Args:
        entry: The file or subfolder.
        key: Its name from the folder that is walked.
        stems: Names in its folder that ``separate`` wrote stems to.
    """
    try:
        key.encode()
    except UnicodeEncodeError:
        return SkipReason.NOT_UTF_8
    if entry.name.startswith("."):
        return SkipReason.HIDDEN
    if entry.is_symlink():
        return SkipReason.LINK
    if entry.is_dir(follow_symlinks=False):
        if entry.name in stems or _has_only_stems(entry.path):
            return SkipReason.STEMS
        return SkipReason.IMPOSSIBLE if key_fault(key) else None
    if not entry.is_file(follow_symlinks=False):
        return SkipReason.SPECIAL
    if not is_media(entry.name):
        return SkipReason.OTHER
    if key_fault(key):
        return SkipReason.IMPOSSIBLE
    return None if os.access(entry.path, os.R_OK) else SkipReason.UNREADABLE


class _RealPath:
    """A file or folder with a real path, thus not a link, as an entry of its folder."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        self.path = str(path)

    def is_symlink(self) -> bool:
        return False

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        is_wanted = follow_symlinks or not self.is_symlink()
        return is_wanted and os.path.isdir(self.path)  # noqa: PTH112

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        is_wanted = follow_symlinks or not self.is_symlink()
        return is_wanted and os.path.isfile(self.path)  # noqa: PTH113


def is_walked(folder: Path, inside: Path) -> bool:
    """Return True if the walk of a folder comes to a file or folder inside it; paths are real."""
    below = [path for path in (inside, *inside.parents) if path.is_relative_to(folder)]
    return all(
        path.name not in _OWN_FOLDERS
        and _reason(
            _RealPath(path), path.relative_to(folder).as_posix(), _stems_in(str(path.parent)) or ()
        )
        is None
        for path in below
        if path != folder
    )


class FolderListing(PrefixListing):
    """Lists one folder source.

    Args:
        manifest: The manifest.
        index: Number of the source.
        settings: The source in the manifest.
        store: Storage, which computes the MD5 of each file once.
        clock: Clock for the ages of files.
    """

    def __init__(
        self,
        manifest: Manifest,
        index: int,
        settings: FolderInput,
        store: ObjectStore,
        clock: Clock,
    ) -> None:
        bounds = {name: getattr(settings, name) for name in _BY_SIZE}
        super().__init__(
            manifest, index, PrefixInput.model_construct(prefix="", **bounds), store, clock
        )
        self._names = Filter(
            [self.source.text(glob).lower() for glob in settings.include],
            [self.source.text(glob).lower() for glob in settings.exclude],
        )
        self._own = _own_paths(manifest)
        self._files = MediaFiles(
            manifest.buckets[self.place.bucket],
            self._own,
            lambda name: name.endswith("/") or self._names.may_take(_printable(name).lower()),
        )
        self._found = 0

    async def batches(self) -> AsyncIterator[list[SourceItem]]:
        """Yield the media files of the folder in batches, in the order of their names."""
        files = iter(self._files)
        number = 0
        while listed := await asyncio.to_thread(self._next, files):
            self._found += len(listed)
            wanted = [each for each in listed if self.wants(each)]
            self.left_out += len(listed) - len(wanted)
            batch = []
            for media in await self._described(wanted):
                number += 1
                batch.append(SourceItem(media, self.source.index, number, self._file, self._line))
            yield batch

    def _next(self, files: Iterator[ListedObject]) -> list[ListedObject]:
        try:
            return list(itertools.islice(files, BATCH))
        except OSError as error:
            raise ConfigError(
                f"The folder {self._files.folder} cannot be read: {error.strerror or error}."
            ) from error

    def may_want(self, key: str) -> bool:
        """Return True if a file of this name is there to be an input, whatever its size and age."""
        root = Path(os.path.realpath(self._files.folder))
        if not (self._names.takes(key.lower()) and is_walked(root, root / key)):
            return False
        below = itertools.takewhile(lambda each: each != root, (root / key, *(root / key).parents))
        return not any(str(each) in self._own for each in below)

    def wants(self, listed: ListedObject) -> bool:
        """Return True if a file is an input."""
        return self._takes(listed) and self._names.takes(listed.key.lower())

    async def _described(self, wanted: list[ListedObject]) -> list[MediaObject]:
        """Return the files as media objects with their MD5, without those that vanished."""
        found: list[MediaObject] = []
        for start in range(0, len(wanted), AT_ONCE):
            part = wanted[start : start + AT_ONCE]
            heads = await asyncio.gather(*(self.store.head(self.place, each.key) for each in part))
            found += [
                MediaObject(*self.place, each.key, head.etag.strip('"'), head.size_bytes)
                for each, head in zip(part, heads, strict=True)
                if head is not None
            ]
        return found

    def remarks(self) -> list[str]:
        """Return remarks on the folder and on filters, after it was read."""
        remarks = self.source.filter_remarks(self._names, self._files.skipped)
        if not self._found:
            text = f"No media files in {quoted(self._files.folder, 200)}."
            remarks.append(str(self.source.manifest.fault(text, (*self.source.path, "folder"))))
        return remarks


def _own_paths(manifest: Manifest) -> frozenset[str]:
    """Return the real paths of the manifest's own files: itself, its report, its stems."""
    own: list[str | Path] = [file for file, _ in manifest.files.texts()]
    report = os.path.dirname(manifest.report)  # noqa: PTH120 - it may contain {run}
    if os.path.realpath(report) != os.path.realpath(manifest.folder):
        own.append(report)
    named = _output_buckets(manifest)
    own += [folder for name, folder in manifest.buckets.items() if name in named]
    return frozenset(os.path.realpath(path) for path in own)


def _output_buckets(manifest: Manifest) -> set[str]:
    """Return the buckets to which the manifest writes stems."""
    places: list[JobSettings] = [manifest.defaults, *manifest.inputs, *manifest.rules]
    variants = (variant for place in places for variant in (place.matrix or {}).values())
    named = (place.output.bucket for place in (*places, *variants) if place.output is not None)
    return {STEMS_BUCKET, *(name for name in named if name)}
