"""Waveforms for a page: computed once for each file, in a bounded time, and kept in a cache."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from orchestrator.separation.outlines import OutlineProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from orchestrator.domain.ports import Clock

LIMIT_S = 20.0
"""Longest time for which a page waits for new waveforms, and for one file. The next page draws
more."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS waveforms_1 (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, peaks BLOB
) WITHOUT ROWID
"""


@dataclass(slots=True)
class Drawings:
    """Waveforms of jobs.

    Attributes:
        by_key: By the job's key, each by ``input``, ``voice``, ``background``.
        missing: Number of files that were not reached in time.
        is_able: False if this machine cannot decode sounds.
    """

    by_key: dict[str, dict[str, bytes]] = field(default_factory=dict)
    missing: int = 0
    is_able: bool = True


class WaveformCache:
    """Waveforms by file: a changed file has another size or time, and is drawn again.

    An empty waveform says that the file cannot be decoded. A cache that cannot be read or written
    is as good as none.

    Args:
        path: Its database.
    """

    def __init__(self, path: Path) -> None:
        self._database: sqlite3.Connection | None = None
        with suppress(sqlite3.Error, OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, isolation_level=None)
            self._database.execute(_SCHEMA)

    def close(self) -> None:
        """Close it."""
        if self._database is not None:
            self._database.close()

    def get(self, path: Path) -> bytes | None:
        """Return the waveform of a file as it is now, or None if it is not known."""
        with suppress(sqlite3.Error, OSError):
            if self._database is not None:
                found = self._database.execute(
                    "SELECT peaks FROM waveforms_1 WHERE path = ? AND size = ? AND mtime_ns = ?",
                    _identity(path),
                ).fetchone()
                return None if found is None else found[0]
        return None

    def put(self, path: Path, peaks: bytes) -> None:
        """Keep the waveform of a file."""
        with suppress(sqlite3.Error, OSError):
            if self._database is not None:
                self._database.execute(
                    "INSERT OR REPLACE INTO waveforms_1 VALUES (?, ?, ?, ?)",
                    (*_identity(path), peaks),
                )


def _identity(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return str(path), found.st_size, found.st_mtime_ns


def draw(
    files: Mapping[str, Mapping[str, Path]],
    cache_path: Path,
    clock: Clock,
    *,
    limit_s: float = LIMIT_S,
    progress: Callable[[int], None] = lambda _: None,
) -> Drawings:
    """Return the waveforms of jobs: those that are known, and new ones while there is time.

    Args:
        files: Files by job key and name.
        cache_path: The cache.
        clock: Time.
        limit_s: Longest time for new ones.
        progress: Called with the number of files that were looked up.
    """
    found = Drawings(is_able=find_spec("av") is not None and find_spec("numpy") is not None)
    end = clock.monotonic() + limit_s
    number = 0
    with closing(WaveformCache(cache_path)) as cache, OutlineProcess(limit_s) as process:
        for key, named in files.items():
            for name, path in named.items():
                progress(number := number + 1)
                peaks = cache.get(path)
                if peaks is None and found.is_able:
                    if clock.monotonic() >= end:
                        found.missing += 1
                        continue
                    peaks = process.outline(path)
                    cache.put(path, peaks)
                if peaks:
                    found.by_key.setdefault(key, {})[name] = peaks
    return found
