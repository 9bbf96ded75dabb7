"""The file of an open ledger: is it still the one that its name leads to, and how to save it.

A run whose file was moved, removed or replaced would record its jobs where the next run does not
find them: they would be paid for twice. SQLite does not notice, so this is checked with
each transaction that writes.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import tempfile
import threading
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

from orchestrator.domain.clock import SystemClock
from orchestrator.errors import LedgerDisplaced

_START = 65_536
"""Bytes at the start of the file that are compared when another program may have written to it.
They hold small tables that change with each start of a run and with each checkpoint."""

_kept = threading.Event()


class LedgerFile:
    """The file of one open ledger, watched by name.

    Args:
        path: The file, behind all symbolic links.
        name: The absolute path by which the user named it.
    """

    def __init__(self, path: Path, name: Path) -> None:
        self.path = path
        self._name = name
        self._wal = path.with_name(path.name + "-wal")
        self._file: int | None = None
        self._wal_stat: os.stat_result | None = None
        self._written: tuple[int, int] = 0, 0
        self._start = 0
        self._saved: Path | None = None
        self._reason = ""  # why it could not be saved
        self._what = ""
        self._linked = False
        self.is_announced = False
        """True once the run knows that the file is displaced."""

    @property
    def is_displaced(self) -> bool:
        """True if what is at the ledger's name is not the file that is open, as it was left."""
        return bool(self._what)

    # --- while it is open

    def hold(self) -> None:
        """Open the file beside SQLite, to know it again.

        SQLite's locks end when any descriptor of the file is closed in this process. So this one
        must be opened before SQLite's and closed after it.
        """
        self._file = os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def note(self) -> None:
        """Note the file and its log as they are now: just opened, or just written to."""
        assert self._file is not None  # noqa: S101 - held while the ledger is open
        if self._wal_stat is None:
            with suppress(FileNotFoundError):
                self._wal_stat = self._wal.stat()
        written = _written(os.fstat(self._file))
        if written != self._written:  # a checkpoint; other commits write to the log alone
            self._written, self._start = written, self._read_start()

    @property
    def is_to_be_saved(self) -> bool:
        """True if the file is displaced and no copy of it was tried yet."""
        return self.is_displaced and self._saved is None and not self._reason

    def look(self) -> None:
        """Compare what is at the ledger's name with what is open."""
        if not self._what:
            self._what = self._compare()

    def error(self) -> LedgerDisplaced | None:
        """Return what to tell the user, if the file is displaced or has two names."""
        if self._what:
            return LedgerDisplaced(
                f"The ledger {self._name} {self._what} while this run used it, so nothing more "
                f"was sent. {self._advice()}"
            )
        return LedgerDisplaced(self._two_names()) if self._linked else None

    def check_links(self) -> None:
        """Refuse a file that has two names.

        Raises:
            LedgerDisplaced: It has.
        """
        assert self._file is not None  # noqa: S101 - held while the ledger is open
        if os.fstat(self._file).st_nlink > 1:
            raise LedgerDisplaced(self._two_names())

    def _compare(self) -> str:
        assert self._file is not None  # noqa: S101 - held while the ledger is open
        mine = os.fstat(self._file)
        try:
            there = self._name.stat()
        except OSError:
            return "was moved or removed"
        if not os.path.samestat(mine, there):
            return "was replaced by another file"
        self._linked = mine.st_nlink > 1
        if self._wal_stat is not None and not _is(self._wal, self._wal_stat):
            return f"lost its log {self._wal.name}, which was moved, removed or replaced"
        if _written(mine) != self._written:
            # Some file systems correct the time of a change later: the content decides.
            if mine.st_size != self._written[0] or self._read_start() != self._start:
                return "was overwritten by another program"
            self._written = _written(mine)
        return ""

    def _read_start(self) -> int:
        assert self._file is not None  # noqa: S101 - held while the ledger is open
        return crc32(os.pread(self._file, _START, 0))

    def _two_names(self) -> str:
        return (
            f"The ledger {self._name} has a second name (a hard link). Two names mean two runs "
            "that do not know of each other: remove the other name, or make a copy instead, and "
            "run again."
        )

    def _advice(self) -> str:
        if self._saved is None:
            return (
                f"It could not be saved ({self._reason}). Restore it from a backup before you run "
                "again."
            )
        wal, shm = (shlex.quote(f"{self._name}{end}") for end in ("-wal", "-shm"))
        saved, name = shlex.quote(str(self._saved)), shlex.quote(str(self._name))
        return (
            f"All that it held was saved in {self._saved}. Move it back and run again: "
            f"rm -f {wal} {shm}; mv {saved} {name}"
        )

    # --- when it is displaced

    def save(self, source: sqlite3.Connection) -> None:
        """Copy the open ledger to a file of its own, or to the one that was written before."""
        for target in [self._saved] if self._saved else self._targets():
            try:
                _copy(source, target)
            except (OSError, sqlite3.Error) as error:
                self._reason = self._reason or str(error)
                if self._saved is None:
                    with suppress(OSError):
                        target.unlink()
            else:
                self._saved = target
                return

    def _targets(self) -> list[Path]:
        now = datetime.fromtimestamp(SystemClock().now(), UTC).strftime("%Y%m%dT%H%M%SZ")
        folders = [self._name.parent, self.path.parent, Path.cwd(), Path.home()]
        folders.append(Path(tempfile.gettempdir()))
        name = f"{self._name.name}.saved-{now}"
        return [path for folder in folders if not (path := folder / name).exists()]

    def leave(self, conn: sqlite3.Connection) -> None:
        """Keep a displaced ledger open until the process ends.

        Closing would write the log into a file that another program has overwritten, and remove
        whatever log lies beside the ledger's name now. A thread that waits forever keeps the
        connection from being closed when Python ends. The own log goes if it is still there:
        SQLite would apply it to the file that has come to its place.
        """
        threading.Thread(target=_keep, args=(conn,), name="ledger-left", daemon=True).start()
        if self._wal_stat is not None and _is(self._wal, self._wal_stat):
            for end in ("-wal", "-shm"):
                with suppress(OSError):
                    self.path.with_name(self.path.name + end).unlink()

    def close(self) -> None:
        """Close the file, after SQLite has."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _written(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _is(path: Path, known: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), known)
    except OSError:
        return False


def _copy(source: sqlite3.Connection, target: Path) -> None:
    with closing(sqlite3.connect(target, isolation_level=None)) as copy:
        source.backup(copy)
        # Pages that another program has overwritten do not fit to the others.
        [(found,)] = copy.execute("PRAGMA integrity_check(1)").fetchall()
        if found != "ok":
            raise sqlite3.DatabaseError(f"its pages contradict each other: {found}")
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, which can be moved as it is


def _keep(*_kept_alive: object) -> None:
    _kept.wait()
