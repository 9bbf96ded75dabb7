"""What is known of an object's content: its size, its sums, its type."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from orchestrator.server.storage.crc64 import crc64

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK = (
    1 << 18
)  # bytes per read: large enough that the calls do not count, small enough for many readers at once


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
        return (self.size, self.mtime_ns, self.inode) == (
            stat.st_size,
            stat.st_mtime_ns,
            stat.st_ino,
        )

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


def content_of(key: str, stat: os.stat_result, sums: Sums) -> Content:
    """What is known of a file of which nothing but its name and its content is known."""
    return Content(
        stat.st_size, stat.st_mtime_ns, stat.st_ino, sums.md5.hex(), sums.crc64, guess_type(key), {}
    )


def content_at(key: str, path: str) -> Content:
    """Read a listed file through; a link that took its place meanwhile is not followed."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return content_of(key, os.fstat(file.fileno()), sums_of(file))
