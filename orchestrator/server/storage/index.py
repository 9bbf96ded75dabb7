"""What was computed of each object's content, so that nothing is hashed twice.

Rows are believed only while size, modification time and inode are those of the file. A power cut may lose the last ones (sums are then
computed again), so commits are not synced: they cost microseconds.
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
    bucket TEXT NOT NULL, key TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    md5 TEXT NOT NULL, crc64 TEXT NOT NULL, content_type TEXT NOT NULL, meta BLOB NOT NULL, PRIMARY KEY (bucket, key)) WITHOUT ROWID
"""


class ObjectIndex:
    """A table of its own file; used by the storage threads, one at a time."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            path, timeout=30, isolation_level=None, check_same_thread=False
        )
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(SCHEMA)

    def recall(self, bucket: str, key: str, stat: os.stat_result) -> Content | None:
        """What is known of a file, if it is still the same one."""
        known = self.recall_all(bucket, [key]).get(key)
        return known if known is not None and known.is_of(stat) else None

    def recall_all(self, bucket: str, keys: Sequence[str]) -> dict[str, Content]:
        """What was known of these objects; the caller must compare it with their files."""
        marks = ", ".join("?" * len(keys))
        sql = f"""SELECT key, size, mtime_ns, inode, md5, crc64, content_type, meta FROM objects
            WHERE bucket = ? AND key IN ({marks})"""  # noqa: S608 - question marks only
        with self._lock:
            rows = self._connection.execute(sql, (bucket, *keys)).fetchall()
        return {
            row[0]: Content(row[1], row[2], row[3], row[4], row[5], row[6], orjson.loads(row[7]))
            for row in rows
        }

    def remember(self, bucket: str, contents: Sequence[tuple[str, Content]]) -> None:
        """Keep what is known of objects, ``(key, content)`` each, with one commit."""
        rows = [
            (
                bucket,
                key,
                c.size,
                c.mtime_ns,
                c.inode,
                c.md5,
                c.crc64,
                c.content_type,
                orjson.dumps(c.meta or {}),
            )
            for key, c in contents
        ]
        with self._lock:
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows
            )
            self._connection.execute("COMMIT")

    def forget(self, bucket: str, key: str) -> None:
        """Drop what is known of an object."""
        with self._lock:
            self._connection.execute(
                "DELETE FROM objects WHERE bucket = ? AND key = ?", (bucket, key)
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
