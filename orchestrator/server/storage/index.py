"""Index of the objects' metadata, so that no file is hashed twice.

A row is valid only while the file keeps its size, modification time and inode. Commits are not
synced and cost microseconds; a power cut may lose the last rows, which are then computed again.
The column ``md5`` holds the ETag, which is not an MD5 for an object that was uploaded in parts.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import orjson

from orchestrator.server.storage.metadata import Content

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from pathlib import Path

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
