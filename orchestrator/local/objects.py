"""The objects: files below ``<root>/<bucket>/``, stored whole or not at all, with what is known of their content.

A file that somebody else put there is an object too; its MD5 and CRC are computed once and remembered as long as size, modification
time and inode stay the same. All methods block: they run in the storage threads.
"""

from __future__ import annotations

import errno
import hashlib
import mimetypes
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.local import objectkeys
from orchestrator.local.crc import crc64
from orchestrator.local.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from orchestrator.local.objectindex import ObjectIndex

CHUNK = 1 << 18  # bytes per read: large enough that the calls do not count, small enough for many readers at once


@dataclass(frozen=True, slots=True)
class Content:
    """What is known of an object.

    Attributes:
        size: Bytes.
        mtime_ns: Modification time, as the file system tells it.
        inode: File number.
        md5: Lowercase hex.
        crc64: Decimal text.
        content_type: Media type.
        meta: Further headers kept with the object (``x-cos-meta-*``, ``Content-Encoding`` ...).
    """

    size: int
    mtime_ns: int
    inode: int
    md5: str = ""
    crc64: str = ""
    content_type: str = ""
    meta: Mapping[str, str] | None = None

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether this is still true of a file."""
        return (self.size, self.mtime_ns, self.inode) == (stat.st_size, stat.st_mtime_ns, stat.st_ino)

    @property
    def etag(self) -> str:
        """With its quotes, as the header carries it."""
        return f'"{self.md5}"'

    @property
    def modified_at(self) -> float:
        """Seconds since the epoch."""
        return self.mtime_ns / 1e9


class Sums:
    """MD5 and CRC-64 of bytes as they pass."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._crc = 0
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take the next bytes."""
        self._md5.update(data)
        self._crc = crc64(data, self._crc)
        self.size += len(data)

    @property
    def md5(self) -> bytes:
        """The MD5 so far."""
        return self._md5.digest()

    @property
    def crc64(self) -> str:
        """The CRC so far, as decimal text."""
        return str(self._crc)


def sums_of(file: BinaryIO) -> Sums:
    """The sums of a file from its present position on."""
    sums = Sums()
    while data := file.read(CHUNK):
        sums.add(data)
    return sums


def guess_type(key: str) -> str:
    """A media type by the key's extension."""
    return mimetypes.guess_type(key)[0] or "application/octet-stream"


def _known_now(key: str, stat: os.stat_result, sums: Sums) -> Content:
    return Content(stat.st_size, stat.st_mtime_ns, stat.st_ino, sums.md5.hex(), sums.crc64, guess_type(key), {})


def _compute(key: str, path: str) -> Content:
    """Read a listed file through; a link that took its place meanwhile is not followed."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return _known_now(key, os.fstat(file.fileno()), sums_of(file))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Objects:
    """Reads and writes objects below one root."""

    def __init__(self, root: Path, index: ObjectIndex, *, durable: bool) -> None:
        self.root = root
        self._index = index
        self._durable = durable
        self._temp = root / objectkeys.RESERVED / "tmp"
        self._temp.mkdir(parents=True, exist_ok=True)
        self._numbers = iter(range(1 << 62))
        for left in self._temp.iterdir():  # of an earlier service that was killed
            left.unlink()

    def folder(self, bucket: str, *, must_exist: bool = True) -> Path:
        """The folder of a bucket.

        Raises:
            Refusal: ``InvalidBucketName``, ``NoSuchBucket``.
        """
        folder = objectkeys.bucket_folder(self.root, bucket)
        if must_exist and not folder.is_dir():
            raise Refusal("NoSuchBucket", f"The bucket {bucket} does not exist here: store an object in it, or make the folder {folder}.")
        return folder

    def temporary(self, bucket: str, suffix: str = "") -> Path:
        """A new path on the file system of the bucket, for a file that ``adopt`` will put in its place."""
        folder = self.folder(bucket, must_exist=False)
        folder.mkdir(parents=True, exist_ok=True)
        temp = self._temp
        if folder.stat().st_dev != temp.stat().st_dev:
            temp = folder / objectkeys.RESERVED
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
        """Make a finished temporary file the object ``key``, replacing an older one in one step.

        Raises:
            Refusal: For keys that cannot be stored; ``PathConflict`` if another object stands in the way.
        """
        path = self._place_for(bucket, key)
        with temporary.open("rb") as file:
            sums = sums or sums_of(file)
            if self._durable:
                os.fsync(file.fileno())
            stat = os.fstat(file.fileno())  # of this very file: after the rename the name may already be another's
        try:
            temporary.replace(path)
        except (IsADirectoryError, NotADirectoryError) as error:
            raise self._conflict(key) from error
        if self._durable:
            _sync_folder(path.parent)
        content_type = content_type or guess_type(key)
        content = Content(stat.st_size, stat.st_mtime_ns, stat.st_ino, sums.md5.hex(), sums.crc64, content_type, dict(meta or {}))
        self._index.remember(bucket, [(key, content)])
        return content

    def _place_for(self, bucket: str, key: str) -> Path:
        folder = self.folder(bucket, must_exist=False)
        path = objectkeys.locate(folder, key)
        if path is None:
            raise Refusal("AccessDenied", f"A symbolic link stands in the way of {key[:80]!r}; links inside a bucket are not followed.")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise self._conflict(key) from error
        return path

    @staticmethod
    def _conflict(key: str) -> Refusal:
        return Refusal("PathConflict", f"{key[:80]!r} cannot be stored: objects are files here, and one name would be a file and a folder.")

    def make_folder(self, bucket: str, key: str) -> Content:
        """Store a folder marker: an empty object whose key ends with a slash. It exists as long as the folder does."""
        path = self._place_for(bucket, key)
        try:
            path.mkdir(exist_ok=True)
        except FileExistsError as error:
            raise self._conflict(key) from error
        return self._marker(path)

    @staticmethod
    def _marker(path: Path) -> Content:
        stat = path.stat()
        return Content(0, stat.st_mtime_ns, stat.st_ino, hashlib.md5(usedforsecurity=False).hexdigest(), "0", "application/x-directory", {})

    def open(self, bucket: str, key: str) -> tuple[BinaryIO | None, Content]:
        """The object's file, open for reading, and what is known of exactly that file. A folder marker has no file.

        Raises:
            Refusal: ``NoSuchBucket``, ``NoSuchKey``, or for keys that cannot exist here.
        """
        folder = self.folder(bucket)
        path = objectkeys.locate(folder, key)
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
            raise Refusal("AccessDenied", f"The file of {key[:200]!r} cannot be read: {error.strerror}.") from None
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
        content = _known_now(key, stat, sums)
        self._index.remember(bucket, [(key, content)])
        return content

    def head(self, bucket: str, key: str) -> Content:
        """What is known of an object.

        Raises:
            Refusal: As :meth:`open`.
        """
        file, content = self.open(bucket, key)
        if file is not None:
            file.close()
        return content

    def describe(self, bucket: str, files: Sequence[tuple[str, str]]) -> Iterator[tuple[str, Content]]:
        """What is known of listed files, ``(key, path)`` each; those that went away meanwhile are passed over."""
        known = self._index.recall_all(bucket, [key for key, _ in files])
        fresh: list[tuple[str, Content]] = []
        try:
            for key, path in files:
                content = known.get(key)
                try:
                    if content is None or not content.is_of(os.lstat(path)):
                        content = _compute(key, path)
                        fresh.append((key, content))
                except OSError:
                    continue  # gone, replaced by a link, or not readable
                yield key, content
        finally:
            if fresh:
                self._index.remember(bucket, fresh)

    def path_of(self, bucket: str, key: str) -> Path | None:
        """The file of an object, or None if there is none."""
        try:
            path = objectkeys.locate(self.folder(bucket), key)
        except Refusal:
            return None
        return path if path is not None and path.is_file() else None

    def delete(self, bucket: str, key: str) -> None:
        """Remove an object; that there is none is not an error, as at the vendor."""
        path = objectkeys.locate(self.folder(bucket), key)
        if path is None:
            return
        try:
            if key.endswith("/"):
                path.rmdir()
            else:
                path.unlink()
        except OSError as error:
            if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY, errno.EPERM}:
                return
            raise
        self._index.forget(bucket, key)
