"""Size, checksums and type of an object's content."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import fastcrc

if TYPE_CHECKING:
    from collections.abc import Mapping

CHUNK = 1 << 18  # bytes per read: few calls, and little memory for each of many readers


@dataclass(frozen=True, slots=True)
class Content:
    """Metadata of an object, valid for one state of its file.

    Attributes:
        size: Bytes.
        mtime_ns: Modification time of the file.
        inode: Inode of the file.
        tag: ETag without its quotes: the MD5 in lowercase hex, or for an object that was uploaded
            in parts the form ``<MD5 of the parts' MD5s>-<number of parts>``.
        crc64: Decimal text of the sum in ``x-cos-hash-crc64ecma``: CRC-64/XZ.
        content_type: Media type.
        meta: Headers stored with the object (``x-cos-meta-*``, ``Content-Encoding`` ...).
    """

    size: int
    mtime_ns: int
    inode: int
    tag: str = ""
    crc64: str = ""
    content_type: str = ""
    meta: Mapping[str, str] | None = None

    def is_of(self, stat: os.stat_result) -> bool:
        """Return True if a file still has this state."""
        state = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        return (self.size, self.mtime_ns, self.inode) == state

    @property
    def etag(self) -> str:
        """ETag with its quotes, as in the header."""
        return f'"{self.tag}"'

    @property
    def modified_at(self) -> float:
        """Modification time in seconds since the epoch."""
        return self.mtime_ns / 1e9


@dataclass(frozen=True, slots=True)
class Digest:
    """ETag (without quotes) and CRC-64 of a content."""

    tag: str
    crc64: str


class Sums:
    """MD5 and CRC-64 of a stream of bytes."""

    def __init__(self, *, md5: bool = True) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._with_md5 = md5  # it takes most of the time
        self._crc = 0
        self.size = 0

    def add(self, data: bytes) -> None:
        """Add the next bytes."""
        if self._with_md5:
            self._md5.update(data)
        self._crc = fastcrc.crc64.xz(data, self._crc)
        self.size += len(data)

    @property
    def md5(self) -> bytes:
        """MD5 of the added bytes."""
        return self._md5.digest()

    @property
    def crc64(self) -> str:
        """CRC of the added bytes, as decimal text."""
        return str(self._crc)

    @property
    def digest(self) -> Digest:
        """ETag and CRC of an object with the added bytes."""
        return Digest(self._md5.hexdigest(), self.crc64)


def sums_of(file: BinaryIO) -> Sums:
    """Compute the sums of a file from its current position on."""
    sums = Sums()
    while data := file.read(CHUNK):
        sums.add(data)
    return sums


def guess_type(key: str) -> str:
    """Return a media type by the key's extension."""
    return mimetypes.guess_type(key)[0] or "application/octet-stream"


def content_of(key: str, stat: os.stat_result, digest: Digest) -> Content:
    """Return the metadata of a file that was not stored by a request."""
    state = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return Content(*state, digest.tag, digest.crc64, guess_type(key), {})


def content_at(key: str, path: str) -> Content:
    """Hash a listed file; a symbolic link in its place is not followed."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return content_of(key, os.fstat(file.fileno()), sums_of(file).digest)
