"""Size, checksums and type of an object's content, and their index: no file is hashed twice.

A row of the index is valid only while the file keeps its size, modification time and inode. Commits
are not synced and cost microseconds; a power cut may lose the last rows, which are then computed
again. The column ``md5`` holds the ETag, which is not an MD5 for an object that was uploaded in
parts.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import sqlite3
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import fastcrc
import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


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


SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    inode INTEGER NOT NULL, md5 TEXT NOT NULL, crc64 TEXT NOT NULL, content_type TEXT NOT NULL,
    meta BLOB NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID
"""


class ObjectIndex:
    """A table in its own file; the storage threads use it one at a time."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(SCHEMA)

    def recall(self, bucket: str, key: str, stat: os.stat_result) -> Content | None:
        """Return the metadata of a file, if the row is still valid."""
        known = self.recall_all(bucket, [key]).get(key)
        return known if known is not None and known.is_of(stat) else None

    def recall_all(self, bucket: str, keys: Sequence[str]) -> dict[str, Content]:
        """Return the rows of these objects; the caller must compare them with the files."""
        marks = ", ".join("?" * len(keys))
        sql = f"""SELECT key, size, mtime_ns, inode, md5, crc64, content_type, meta FROM objects
            WHERE bucket = ? AND key IN ({marks})"""  # noqa: S608 - question marks only
        with self._lock:
            rows = self._connection.execute(sql, (bucket, *keys)).fetchall()
        return {
            key: Content(size, mtime_ns, inode, tag, crc64, kind, orjson.loads(meta))
            for key, size, mtime_ns, inode, tag, crc64, kind, meta in rows
        }

    def remember(self, bucket: str, contents: Sequence[tuple[str, Content]]) -> None:
        """Save the metadata of objects, ``(key, content)`` each, with one commit."""
        rows = [
            (
                *(bucket, key, content.size, content.mtime_ns, content.inode, content.tag),
                *(content.crc64, content.content_type, orjson.dumps(content.meta or {})),
            )
            for key, content in contents
        ]
        with self._lock:
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )
            self._connection.execute("COMMIT")

    def forget(self, bucket: str, key: str) -> None:
        """Delete the row of an object."""
        with self._lock:
            self._connection.execute(
                "DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key)
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
