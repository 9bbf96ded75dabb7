"""What was computed of each object's content, so that nothing is hashed twice.

Rows are believed only while size, modification time and inode are those of the file. A power cut may lose the last ones (sums are then
computed again), so commits are not synced: they cost microseconds.
"""

from __future__ import annotations

import sqlite3
import threading
from typing import TYPE_CHECKING

import orjson

from orchestrator.local.objects import Content

if TYPE_CHECKING:
    import os
    from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    md5 TEXT NOT NULL, crc64 TEXT NOT NULL, content_type TEXT NOT NULL, meta BLOB NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID
"""


class ObjectIndex:
    """A table of its own file; used by the storage threads, one at a time."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(SCHEMA)

    def recall(self, bucket: str, key: str, stat: os.stat_result) -> Content | None:
        """What is known of a file, if it is still the same one."""
        sql = "SELECT md5, crc64, content_type, meta FROM objects WHERE bucket = ? AND key = ? AND size = ? AND mtime_ns = ? AND inode = ?"
        with self._lock:
            row = self._connection.execute(sql, (bucket, key, stat.st_size, stat.st_mtime_ns, stat.st_ino)).fetchone()
        if row is None:
            return None
        md5, crc, content_type, meta = row
        return Content(stat.st_size, stat.st_mtime_ns, stat.st_ino, md5, crc, content_type, orjson.loads(meta))

    def remember(self, bucket: str, key: str, content: Content, meta: bytes) -> None:
        """Keep what is known of an object."""
        values = (bucket, key, content.size, content.mtime_ns, content.inode, content.md5, content.crc64, content.content_type, meta)
        with self._lock:
            self._connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", values)

    def forget(self, bucket: str, key: str) -> None:
        """Drop what is known of an object."""
        with self._lock:
            self._connection.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
