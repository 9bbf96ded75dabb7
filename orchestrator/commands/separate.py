"""Separate files and folders without a manifest: write one, and keep its state at the stems.

The output folder holds ``.separate.yaml``, the manifest of the last call, and ``.orchestrator``
with the ledger. So running it again resumes, the folder may be moved, and deleting it forgets all.
Names of stems stay the same from call to call, and never collide.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from orchestrator.commands.options import ManifestSource, RunOptions, check_word
from orchestrator.domain.audio_formats import CODECS
from orchestrator.domain.home import with_home
from orchestrator.domain.states import JobState
from orchestrator.domain.wording import quoted
from orchestrator.durable import unwritable, write_atomically
from orchestrator.errors import ConfigError
from orchestrator.manifest.local_buckets import bucket_name
from orchestrator.manifest.manifest import STEMS_BUCKET
from orchestrator.manifest.sources.folder import SEPARATE_MANIFEST, STEM_NAMES, is_walked
from orchestrator.manifest.yaml_text import exact_glob, literal, scalar
from orchestrator.separation.install.installed import check_ready

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


STATE = ".orchestrator"
DEFAULT_OUTPUT = Path("stems")
DEFAULT_CODEC = "mp3"
_RETRIED = frozenset({JobState.FAILED, JobState.REJECTED, JobState.CANCELLED, JobState.UNFINISHED})


@dataclass(frozen=True, slots=True)
class Request:
    """Files and folders to separate.

    Attributes:
        paths: Files and folders.
        output: Folder of the stems; None for ``stems`` in the current folder.
        codec: Format of the stems.
        save: File that receives the manifest, or None.
    """

    paths: tuple[Path, ...]
    output: Path | None = None
    codec: str = DEFAULT_CODEC
    save: Path | None = None


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file or folder to separate.

    Attributes:
        shown: Its path as the user sees it, absolute.
        real: Its path without symbolic links.
        is_folder: True for a folder.
    """

    shown: Path
    real: Path
    is_folder: bool


def prepare(request: Request) -> tuple[ManifestSource, RunOptions]:
    """Write the manifest of a request, and return what to run.

    Jobs that failed in an earlier call are tried again.

    Raises:
        EngineMissing: If this machine cannot separate.
        ConfigError: If a path, the codec or a folder cannot be used.
    """
    check_word("--codec", request.codec, CODECS)
    folder = Path(os.path.abspath(with_home(request.output or DEFAULT_OUTPUT)))  # noqa: PTH100
    wanted = list(_wanted(request.paths, folder.resolve()))
    if request.save is not None and request.save.exists():
        raise ConfigError(f"--save {request.save}: the file exists. Choose another name.")
    check_ready()
    state = folder / STATE
    try:
        state.mkdir(parents=True, exist_ok=True)
        names = StemNames.load(folder / STEM_NAMES, folder)
        text = _Writer(folder, names, folder).text(wanted, request.codec)
        names.save()
        write_atomically(folder / SEPARATE_MANIFEST, text.encode())
        if request.save is not None:
            text = _Writer(folder, names).text(wanted, request.codec)
            write_atomically(request.save, (_save_note(request.save, folder) + text).encode())
    except OSError as error:
        name = error.filename or folder
        raise ConfigError(
            unwritable(name, error, "Choose another folder for the stems with -o DIR.")
        ) from error
    return ManifestSource(folder / SEPARATE_MANIFEST), RunOptions(retry=_RETRIED)


def _wanted(paths: Sequence[Path], output: Path) -> Iterator[_Wanted]:
    """Yield each file and folder once.

    What the walk of another named folder finds is not repeated. A file that it would skip, or one
    in the output folder, is an input because it is named.
    """
    found: dict[Path, _Wanted] = {}
    for path in paths:
        shown = Path(os.path.abspath(with_home(path)))  # noqa: PTH100 - a link keeps its name
        real = shown.resolve()
        try:
            str(real).encode()
        except UnicodeEncodeError:
            name = os.fsencode(path).decode("utf-8", "backslashreplace")
            raise ConfigError(f"{name}: the name is not UTF-8. Rename it.") from None
        if not real.exists():
            raise ConfigError(f"{quoted(path, 200)} does not exist. Name a file or a folder.")
        if not (real.is_dir() or real.is_file()):
            raise ConfigError(f"{quoted(path, 200)} is neither a file nor a folder.")
        found.setdefault(real, _Wanted(shown, real, real.is_dir()))
    folders = {each.real for each in found.values() if each.is_folder}
    for each in found.values():
        above = folders & set(each.real.parents)
        if not any(_is_found(each.real, folder, output) for folder in above):
            yield each


def _is_found(path: Path, folder: Path, output: Path) -> bool:
    """Return True if the walk of a folder comes to a path inside it, past the output folder."""
    is_left_out = path.is_relative_to(output) and folder in output.parents
    return not is_left_out and is_walked(folder, path)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the manifest of a call.

    Attributes:
        output: Folder of the stems.
        names: Names of stems and buckets.
        base: Folder that paths start from; None for absolute paths.
    """

    output: Path
    names: StemNames
    base: Path | None = None

    def text(self, wanted: Sequence[_Wanted], codec: str) -> str:
        """Return the manifest."""
        sources = [line for each in wanted for line in self._source(each)]
        buckets = [f"      {name}: {self._path(path)}" for name, path in self.names.buckets()]
        report = self._path(self.output / STATE / "reports", "/{run}.jsonl")
        lines = [
            "# Written by: orchestrator separate",
            "version: 1",
            "name: separate",
            "service:",
            "  local:",
            "    buckets:",
            f"      stems: {self._path(self.output)}",
            *buckets,
            "defaults:",
            f"  operation: {{audio: {{codec: {codec}}}}}",
            "  output: {bucket: stems}",
            "inputs:",
            *sources,
            f"report: {report}",
        ]
        return "\n".join(lines) + "\n"

    def _path(self, path: str | Path, more: str = "") -> str:
        """Return a path as the manifest writes it; ``more`` is part of the template."""
        shown = str(path) if self.base is None else os.path.relpath(path, self.base)
        return scalar(literal(shown) + more)

    def _source(self, each: _Wanted) -> list[str]:
        """Return the lines of one file or folder."""
        top = self.names.top(each.shown)
        bucket = self.names.bucket(each.real if each.is_folder else each.real.parent)
        first, *more = [f"folder: {self._path(each.shown)}"] if each.is_folder else _file(each)
        inside = "/{object}" if each.is_folder else ""
        voice, background = (
            scalar(f"{literal(top)}{inside}/{stem}.${{ext}}") for stem in ("voice", "background")
        )
        return [
            f"  - {first}",
            *(f"    {line}" for line in more),
            f"    bucket: {bucket}",
            f"    output: {{voice: {voice}, background: {background}}}",
        ]


def _file(each: _Wanted) -> list[str]:
    name = each.real.name
    return [f"prefix: {scalar(literal(name))}", f"include: [{scalar(exact_glob(name))}]"]


def _save_note(save: Path, folder: Path) -> str:
    ledger = folder / STATE / "separate.db"
    return (
        "# Run it again, also for new files, with the same ledger:\n"
        f"#   orchestrator run {shlex.quote(str(save))} --ledger {shlex.quote(str(ledger))}\n"
    )


_RESERVED = frozenset({".orchestrator", ".service", ".separate.yaml"})


class StemNames:
    """Names in one output folder: that of each input's stems, and that of each folder's bucket.

    Args:
        file: Where they are kept.
        tops: Path of each input, by the name of its stems.
        buckets: Path of each folder, by its bucket.
        folder: The output folder.
    """

    def __init__(
        self, file: Path, tops: dict[str, str], buckets: dict[str, str], folder: Path
    ) -> None:
        self._file = file
        self._tops = tops
        self._buckets = buckets
        self._folder = folder

    @classmethod
    def load(cls, file: Path, folder: Path) -> StemNames:
        """Read the names of earlier calls.

        An input that was moved together with the output folder is the same input.

        Raises:
            ConfigError: If the file is damaged.
        """
        if not file.exists():
            return cls(file, {}, {}, folder)
        try:
            kept = orjson.loads(file.read_bytes())
            before = Path(kept["folder"])
            tops, buckets = (
                _present({str(name): str(path) for name, path in part.items()}, before, folder)
                for part in (kept["stems"], kept["buckets"])
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"{file} is damaged. Choose another folder with -o DIR, or delete the file: then "
                "everything is made again, under new names."
            ) from error
        return cls(file, tops, buckets, folder)

    def save(self) -> None:
        """Keep the names for the next call."""
        kept = {"folder": str(self._folder), "stems": self._tops, "buckets": self._buckets}
        option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        write_atomically(self._file, orjson.dumps(kept, option=option))

    def top(self, path: Path) -> str:
        """Return the name of an input's stems: its own name, numbered if that is taken."""
        known = next((name for name, other in self._tops.items() if other == str(path)), None)
        if known is not None:
            return known
        taken = {name.casefold() for name in (*self._tops, *_RESERVED)}
        # The service would fill in ${ext}, also in the middle of a name.
        plain = (path.name or "root").replace("${", "_{")
        name, number = plain, 1
        # What is there already, also a folder or a broken link, belongs to the user.
        while name.casefold() in taken or os.path.lexists(self._folder / name):
            number += 1
            name = f"{Path(plain).stem} ({number}){Path(plain).suffix}"
        self._tops[name] = str(path)
        return name

    def bucket(self, folder: Path) -> str:
        """Return the bucket of a folder."""
        known = next((name for name, other in self._buckets.items() if other == str(folder)), None)
        if known is None:
            known = bucket_name(folder, {*self._buckets, STEMS_BUCKET})
            self._buckets[known] = str(folder)
        return known

    def buckets(self) -> Iterable[tuple[str, str]]:
        """Return bucket and path of each folder that is there.

        Those of earlier calls are among them, because their jobs may still wait at the service.
        """
        return [
            (name, path)
            for name, path in self._buckets.items()
            if os.path.isdir(path)  # noqa: PTH112
        ]


def _present(paths: dict[str, str], before: Path, now: Path) -> dict[str, str]:
    """Return where paths are, by name: some may have moved together with the output folder.

    A path that is still there has not moved, and two names never get one path.
    """
    if before == now:
        return paths
    found = dict(paths)
    used = set(paths.values())
    for name, path in paths.items():
        moved = os.path.normpath(now / os.path.relpath(path, before))
        is_free = moved not in used and not os.path.lexists(path)
        if is_free and os.path.exists(moved):  # noqa: PTH110
            found[name] = moved
            used.add(moved)
    return found
