"""Reads objects: files below ``<root>/<bucket>/``, with their metadata.

A file that another program put there is an object too. Its MD5 and CRC are computed once, and kept
while its size, modification time and inode stay the same. All methods block: they run in the
storage threads.
"""

from __future__ import annotations

import errno
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.request import BUCKET
from orchestrator.server.storage import keys
from orchestrator.server.storage.metadata import Content, Sums, content_at, content_of, sums_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.server.storage.index import ObjectIndex


class ObjectReads:
    """Reads objects below one root, and changes nothing there.

    Args:
        root: Folder of the buckets.
        index: The objects' metadata.
        buckets: Folders of buckets that are not in the root, by name.
    """

    def __init__(
        self,
        root: Path,
        index: ObjectIndex,
        buckets: Mapping[str, Path] = MappingProxyType({}),
    ) -> None:
        self.root = root
        self._buckets = buckets
        self._index = index

    def buckets(self) -> list[str]:
        """Return the names of the buckets that exist, in order."""
        inside = {path.name for path in self.root.iterdir() if BUCKET.fullmatch(path.name)}
        named = inside | set(self._buckets)
        return sorted(
            name for name in named if (self._buckets.get(name) or self.root / name).is_dir()
        )

    def folder(self, bucket: str, *, must_exist: bool = True) -> Path:
        """Return the folder of a bucket.

        Raises:
            Refusal: ``InvalidBucketName``, ``NoSuchBucket``.
        """
        folder = self._buckets.get(bucket) or keys.bucket_folder(self.root, bucket)
        if must_exist and not os.path.isdir(folder):  # noqa: PTH112 - a third of the time
            raise Refusal(
                "NoSuchBucket",
                f"The bucket {bucket} does not exist here. Check its name, or make the folder "
                f"{folder}.",
            )
        return folder

    @staticmethod
    def _marker(path: Path) -> Content:
        stat, empty = path.stat(), Sums().digest
        state = (0, stat.st_mtime_ns, stat.st_ino)
        return Content(*state, empty.tag, empty.crc64, "application/x-directory", {})

    def open(self, bucket: str, key: str) -> tuple[BinaryIO | None, Content]:
        """Open an object and return its file and metadata; a folder marker has no file.

        Raises:
            Refusal: ``NoSuchBucket``, ``NoSuchKey``, or the code of a key that is not valid.
        """
        folder = self.folder(bucket)
        path = keys.locate(folder, key)
        missing = Refusal("NoSuchKey", f"The object {key[:200]!r} does not exist in {bucket}.")
        if path is None:
            raise missing
        try:
            if key.endswith("/"):
                if path.is_dir():
                    return None, self._marker(path)
                raise missing
            file = path.open("rb")
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}:
                raise missing from None
            raise Refusal(
                "AccessDenied", f"The file of {key[:200]!r} cannot be read: {error.strerror}."
            ) from None
        try:
            return file, self._content(bucket, key, file)
        except BaseException:
            file.close()
            raise

    def _content(self, bucket: str, key: str, file: BinaryIO) -> Content:
        stat = os.fstat(file.fileno())
        known = self._index.recall(bucket, key, stat)
        if known is not None:
            return known
        sums = sums_of(file)
        file.seek(0)
        content = content_of(key, stat, sums.digest)
        self._index.remember(bucket, [(key, content)])
        return content

    def head(self, bucket: str, key: str) -> Content:
        """Return the metadata of an object.

        Raises:
            Refusal: As :meth:`open`.
        """
        file, content = self.open(bucket, key)
        if file is not None:
            file.close()
        return content

    def describe(
        self, bucket: str, files: Sequence[tuple[str, str]]
    ) -> Iterator[tuple[str, Content]]:
        """Yield the metadata of listed files, ``(key, path)`` each; vanished files are skipped."""
        known = self._index.recall_all(bucket, [key for key, _ in files])
        fresh: list[tuple[str, Content]] = []
        try:
            for key, path in files:
                content = known.get(key)
                try:
                    if content is None or not content.is_of(os.lstat(path)):
                        content = content_at(key, path)
                        fresh.append((key, content))
                except OSError:
                    continue  # deleted, replaced by a link, or not readable
                yield key, content
        finally:
            if fresh:
                self._index.remember(bucket, fresh)

    def path_of(self, bucket: str, key: str) -> Path | None:
        """Return the file of an object, or None if there is none."""
        try:
            path = keys.locate(self.folder(bucket), key)
        except Refusal:
            return None
        return path if path is not None and path.is_file() else None
