"""Stores objects atomically. All methods block: they run in the storage threads."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from orchestrator.server.http.errors import Refusal
from orchestrator.server.storage import keys
from orchestrator.server.storage.metadata import Content, Sums, content_of, sums_of
from orchestrator.server.storage.reader import ObjectReads

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.server.storage.index import ObjectIndex


_NOTHING_TO_DELETE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EPERM}


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Objects(ObjectReads):
    """Reads and writes objects below one root, for one process: it deletes unfinished files."""

    def __init__(
        self,
        root: Path,
        index: ObjectIndex,
        buckets: Mapping[str, Path] = MappingProxyType({}),
        *,
        durable: bool,
    ) -> None:
        super().__init__(root, index, buckets)
        self._durable = durable
        self._temp = root / keys.RESERVED / "tmp"
        self._temp.mkdir(parents=True, exist_ok=True)
        self._numbers = iter(range(1 << 62))
        for left in self._temp.iterdir():  # of a service that was killed
            left.unlink()

    def temporary(self, bucket: str, suffix: str = "") -> Path:
        """Return a new path on the bucket's file system, for a file that ``adopt`` will move."""
        folder = self.folder(bucket, must_exist=False)
        folder.mkdir(parents=True, exist_ok=True)
        temp = self._temp
        if folder.stat().st_dev != temp.stat().st_dev:
            temp = folder / keys.RESERVED
            temp.mkdir(exist_ok=True)
        return temp / f"{os.getpid()}-{next(self._numbers)}{suffix}"

    def adopt(
        self,
        bucket: str,
        key: str,
        temporary: Path,
        content_type: str = "",
        sums: Sums | None = None,
        meta: Mapping[str, str] | None = None,
    ) -> Content:
        """Make a finished temporary file the object ``key``, and atomically replace an older one.

        Raises:
            Refusal: The key cannot be stored; ``PathConflict`` if another object blocks it.
        """
        path = self._place_for(bucket, key)
        with temporary.open("rb") as file:
            sums = sums or sums_of(file)
            if self._durable:
                os.fsync(file.fileno())
            # Of this open file: after the rename, the name may already belong to another one.
            stat = os.fstat(file.fileno())
        try:
            temporary.replace(path)
        except (IsADirectoryError, NotADirectoryError) as error:
            raise self._conflict(key) from error
        if self._durable:
            _sync_folder(path.parent)
        content = content_of(key, stat, sums)
        content = replace(
            content, content_type=content_type or content.content_type, meta=dict(meta or {})
        )
        self._index.remember(bucket, [(key, content)])
        return content

    def _place_for(self, bucket: str, key: str) -> Path:
        folder = self.folder(bucket, must_exist=False)
        path = keys.locate(folder, key)
        if path is None:
            raise Refusal(
                "AccessDenied",
                f"The path of {key[:80]!r} has a symbolic link; links in buckets are not followed.",
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._conflict(key) from error
        return path

    @staticmethod
    def _conflict(key: str) -> Refusal:
        return Refusal(
            "PathConflict",
            f"{key[:80]!r} cannot be stored: objects are files here, and one name would be a file "
            "and a folder.",
        )

    def make_folder(self, bucket: str, key: str) -> Content:
        """Store a folder marker: an empty object whose key ends with a slash; it is the folder."""
        path = self._place_for(bucket, key)
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise self._conflict(key) from error
        return self._marker(path)

    def delete(self, bucket: str, key: str) -> None:
        """Delete an object; a missing one is not an error, as at the vendor."""
        path = keys.locate(self.folder(bucket), key)
        if path is None:
            return
        try:
            if key.endswith("/"):
                path.rmdir()
            else:
                path.unlink()
        except OSError as error:
            if error.errno in _NOTHING_TO_DELETE:
                return
            raise
        self._index.forget(bucket, key)
