"""Buckets of the local service that are folders of this machine, with those of folder sources."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.home import with_home
from orchestrator.domain.value_formats import LOCAL_BUCKET
from orchestrator.domain.wording import quoted
from orchestrator.errors import ConfigError
from orchestrator.manifest.manifest import STEMS_BUCKET, LocalServiceSettings
from orchestrator.manifest.schema.inputs import FolderInput
from orchestrator.manifest.template import slug

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from orchestrator.manifest.diagnostics import FaultList
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.schema.inputs import AnyInput
    from orchestrator.manifest.yaml.document import Path as DataPath
    from orchestrator.manifest.yaml.includes import Files

_LENGTH = 40  # leaves room for a number, and for the rest of a host name

NOT_LOCAL = (
    "A folder is read by service: local only. Upload its files to a bucket and name them with "
    "prefix: or object:, or write service: local."
)


def bucket_name(folder: Path, taken: Collection[str] = ()) -> str:
    """Return a bucket name for a folder, made from its own name, that is not ``taken``."""
    plain = slug(folder.name)[:_LENGTH].strip("-")
    name = base = plain if LOCAL_BUCKET.fullmatch(plain) else "folder"
    number = 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


class LocalBuckets:
    """Folders of buckets, as a manifest names them.

    Args:
        files: Files of the manifest: a relative path starts at the file that contains it.
        faults: Collects what is wrong.
        rendered: Function that fills params into text at a place of the manifest.
    """

    def __init__(
        self,
        files: Files,
        faults: FaultList,
        rendered: Callable[[str, DataPath, Mapping[str, str]], str],
        params: Mapping[str, str],
    ) -> None:
        self.files = files
        self.faults = faults
        self.folders: dict[str, Path] = {}
        self._default_stems: Path | None = None
        self._rendered = rendered
        self._params = params

    def add(self, written: Mapping[str, str]) -> None:
        """Add the buckets of the service's settings."""
        for name, text in written.items():
            folder = self._folder(text, ("service", "local", "buckets", name))
            if folder is None:
                continue
            if folder.exists() and not folder.is_dir():
                message = f"{quoted(folder, 200)} is a file, not a folder."
                self._fault(message, "service", "local", "buckets", name)
            self.folders[name] = folder

    def named(self, inputs: tuple[AnyInput, ...], home: Path) -> tuple[AnyInput, ...]:
        """Return the sources, those of folders with a bucket, and add these buckets.

        Args:
            inputs: The sources.
            home: Folder of the manifest. The stems of folders go to ``stems`` there, unless the
                manifest says where that bucket is.
        """
        if not any(isinstance(source, FolderInput) for source in inputs):
            return inputs
        self._default_stems = None if STEMS_BUCKET in self.folders else home / STEMS_BUCKET
        self.folders.setdefault(STEMS_BUCKET, home / STEMS_BUCKET)
        return tuple(
            self._named(source, index) if isinstance(source, FolderInput) else source
            for index, source in enumerate(inputs)
        )

    def _named(self, source: FolderInput, index: int) -> FolderInput:
        path: DataPath = ("inputs", index, "folder")
        folder = self._folder(source.folder, path)
        if folder is None:
            return source
        if not folder.is_dir():
            reason = "is a file, not a folder" if folder.exists() else "does not exist"
            hint = (
                "Name the folder that it is in, with include: for the file"
                if folder.exists()
                else "Correct the path, or connect its disk; a relative path starts at the file "
                "that names it"
            )
            self._fault(f"The folder {quoted(folder, 200)} {reason}. {hint}.", *path)
        stems = self._default_stems
        if stems is not None and _is_in(folder, stems):
            self._fault(
                f"The stems of this folder would go to {quoted(stems, 200)}, which holds it, and "
                "would be inputs of the next run. Name another place: "
                "service: {local: {buckets: {stems: DIR}}}.",
                *path,
            )
        name = self._rendered(source.bucket or "", ("inputs", index, "bucket"), self._params)
        if name and not _is_same(self.folders.get(name, folder), folder):
            other = quoted(self.folders[name], 200)
            self._fault(
                f"The bucket {name} is the folder {other} already. Choose another name.",
                *("inputs", index, "bucket"),
            )
        name = name or self._known(folder) or bucket_name(folder, self.folders)
        self.folders[name] = folder
        return source.model_copy(update={"bucket": name})

    def _known(self, folder: Path) -> str:
        """Return the name of a folder that is a bucket already, or an empty text."""
        return next(
            (
                name
                for name, other in self.folders.items()
                if name != STEMS_BUCKET and _is_same(other, folder)
            ),
            "",
        )

    def _folder(self, text: str, path: DataPath) -> Path | None:
        """Return the absolute path that text names, or None if it has a fault."""
        rendered = self._rendered(text, path, self._params)
        if not rendered:
            return None
        try:
            named = with_home(rendered)
        except ConfigError as error:
            self._fault(str(error), *path)
            return None
        # Not resolved: a link may lead elsewhere tomorrow, and is the same bucket.
        return Path(os.path.normpath(self.files.folder_of(path).absolute() / named))

    def _fault(self, message: str, *path: str | int) -> None:
        self.faults.add(self.files.fault(message, path))


class ObjectPlaces:
    """Places of objects: two buckets may be one folder, or one may be inside the other."""

    def __init__(self, manifest: Manifest) -> None:
        service = manifest.service
        root = service.root if isinstance(service, LocalServiceSettings) else None
        self._root = os.path.realpath(root) if root is not None else ""
        self._folders = {
            bucket: f"{os.path.realpath(folder)}/" for bucket, folder in manifest.buckets.items()
        }

    def of(self, bucket: str, key: str) -> tuple[str, str]:
        """Return what identifies an object: its path, if the manifest names the folder."""
        folder = self._folders.get(bucket)
        if folder is None and self._root:
            folder = f"{self._root}/{bucket}/"
        return (bucket, key) if folder is None else ("", f"{folder}{key}")


def _is_same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _is_in(folder: Path, other: Path) -> bool:
    """Return True if a folder is the other one, or inside it."""
    return Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(other))
