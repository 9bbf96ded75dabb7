"""SQLite: one file in WAL mode, synced at every commit, and errors that say what to do."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.wording import quoted
from orchestrator.durable import DISK_FULL, reason_of
from orchestrator.errors import (
    LedgerCorrupt,
    LedgerError,
    LedgerFull,
    LedgerMismatch,
    OrchestratorError,
)
from orchestrator.ledger.group_commit import Recovery
from orchestrator.ledger.ledger_file import LedgerFile
from orchestrator.ledger.named_queries import load
from orchestrator.ledger.unit_of_work import UnitOfWork

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from orchestrator.ledger.named_queries import Row

_FORMAT = 2
"""Version of the tables; others are refused, except 1, which had no ``intents``."""
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'sqlite_*'"
_MAGIC = b"SQLite format 3\0"
_BUSY_MS = 10_000
"""Wait this long for another program that locks the file, a backup for example."""
_CACHE_KIB = 16_384
"""Pages kept in memory: a fixed share of the memory of a run, whatever the size of the file."""
_CHECKPOINT_PAGES = 8_192
"""32 MiB of log before a checkpoint, so that a page that changes often is copied once."""
_LITTLE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SqliteDatabase:
    """An open ledger file (``named_queries.Database``).

    Attributes:
        conn: The connection of the driver.
        queries: The statements, by name.
    """

    conn: sqlite3.Connection
    queries: Mapping[str, str]

    def read(self, name: str, **values: int | str | Collection[Any]) -> list[Any]:
        """See ``named_queries.Database``."""
        sent = {
            key: value if isinstance(value, int | str) else orjson.dumps(list(value)).decode()
            for key, value in values.items()
        }
        [(text,)] = self._run(name, sent).fetchall()
        answer: list[Any] = orjson.loads(text)
        return answer

    def change(self, name: str, **values: int | str | bytes) -> int:
        """See ``named_queries.Database``."""
        return self._run(name, values).rowcount

    def write(self, name: str, rows: Collection[Row], failed: Callable[[], Exception]) -> None:
        """See ``named_queries.Database``."""
        if not rows:
            return
        text, nul = orjson.dumps(list(rows)).decode(), ""
        if "\\u0000" in text:  # a NUL, or the end of an escaped one
            nul = next(mark for mark in map(chr, range(0xE000, 0xF900)) if mark not in text)
            text = orjson.dumps([[_replaced(value, nul) for value in row] for row in rows]).decode()
        if self.change(name, rows=text, nul=nul) != len(rows):
            raise failed()

    def expect_one(self, name: str, failed: Callable[[], Exception], **values: int | str) -> None:
        """See ``named_queries.Database``."""
        if self.change(name, **values) != 1:
            raise failed()

    def _run(self, name: str, values: Mapping[str, int | str | bytes]) -> sqlite3.Cursor:
        return self.conn.execute(self.queries[name], values)


def _replaced(value: int | str | None, nul: str) -> int | str | None:
    return value.replace("\0", nul) if isinstance(value, str) else value


class SqliteStore:
    """A ledger file (``group_commit.Store``).

    Args:
        path: The file; its folder is made if it is missing.
        name: The absolute path by which the user named it, if it is another.
        read_only: Change nothing. A missing file then reads as an empty ledger.
    """

    def __init__(self, path: Path, name: Path | None = None, *, read_only: bool = False) -> None:
        self.path = path
        self._file = LedgerFile(path, name or path)
        self._is_read_only = read_only
        self._conn: sqlite3.Connection | None = None

    @classmethod
    def empty(cls) -> SqliteStore:
        """Return an empty ledger, to be read."""
        return cls(Path(os.devnull), read_only=True)

    # --- opening

    def open(self) -> UnitOfWork:
        """Open, make or check the file."""
        try:
            return self._open()
        except (sqlite3.Error, OSError) as error:
            self._file.close()
            raise self.explain(error) from error
        except BaseException:
            self._file.close()
            raise

    def _open(self) -> UnitOfWork:
        if not self._is_read_only:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        self._check_magic()
        if not self._is_read_only:
            self._file.hold()
            self._file.check_links()
        conn = self._connect()
        try:
            self._prepare(conn)
            if not self._is_read_only:
                self._file.note()
        except BaseException:
            conn.close()
            raise
        self._conn = conn
        return UnitOfWork(SqliteDatabase(conn, load("sqlite.sql")), self._file)

    def _check_magic(self) -> None:
        """Refuse a file of another kind, in clearer words than SQLite's."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            start = file.read(len(_MAGIC))
            if start and start != _MAGIC:
                shown = quoted(start.decode("latin-1"))
                raise LedgerCorrupt(
                    f"{self.path} is not a ledger: it begins with {shown}. "
                    "Name another file with --ledger, or move this one away."
                )

    def _connect(self) -> sqlite3.Connection:
        conn = (
            self._connect_reader()
            if self._is_read_only
            else sqlite3.connect(self.path, isolation_level=None)
        )
        conn.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        conn.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        conn.execute("PRAGMA temp_store = MEMORY")
        # Some builds of SQLite overwrite deleted content with zeros; nothing here is secret.
        conn.execute("PRAGMA secure_delete = OFF")
        return conn

    def _connect_reader(self) -> sqlite3.Connection:
        # A full disk or a crash can leave a file with nothing in it.
        if not self.path.exists() or not self.path.stat().st_size:
            return sqlite3.connect(":memory:", isolation_level=None)
        uri = self.path.absolute().as_uri()
        conn = sqlite3.connect(f"{uri}?mode=ro", uri=True, isolation_level=None)
        try:
            conn.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        except sqlite3.OperationalError:
            # In a read-only folder SQLite cannot make the files beside a log. Without a log it
            # needs none.
            conn.close()
            if self.path.with_name(self.path.name + "-wal").exists():
                raise
            conn = sqlite3.connect(f"{uri}?immutable=1", uri=True, isolation_level=None)
        return conn

    def _prepare(self, conn: sqlite3.Connection) -> None:
        names = {name for (name,) in conn.execute(_TABLES)}
        if names and "facts" not in names:
            raise LedgerCorrupt(
                f"{self.path} is a database of another program. Name another file with --ledger."
            )
        if not self._is_read_only:
            conn.execute("PRAGMA journal_mode = WAL").close()
            conn.execute("PRAGMA synchronous = FULL")
            conn.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}").close()
        if not names:
            self._make(conn)
        if _format(conn) == 1:
            self._upgrade(conn)
        found = _format(conn)
        if found != _FORMAT and not (self._is_read_only and found == 1):
            raise LedgerCorrupt(
                f"The ledger {self.path} has format {found}; this version of orchestrator reads "
                f"format {_FORMAT}. Use the version that wrote it, or start a new ledger with "
                "--ledger."
            )
        if self._is_read_only:
            conn.execute("PRAGMA query_only = ON")

    def _make(self, conn: sqlite3.Connection) -> None:
        """Make all tables in one transaction: a crash leaves an empty file, which is made again."""
        conn.execute("BEGIN IMMEDIATE")
        if conn.execute(_TABLES).fetchone() is None:  # no other process was faster
            for statement in load("sqlite_tables.sql").values():
                conn.execute(statement)
            conn.execute("INSERT INTO facts VALUES ('format', ?), ('visit', 0)", [_FORMAT])
            conn.execute("INSERT INTO intents (id) VALUES (1)")
        conn.execute("COMMIT")

    def _upgrade(self, conn: sqlite3.Connection) -> None:
        """Add what format 1 lacks; for a ledger that is only read, in memory."""
        if self._is_read_only:
            conn.execute(
                "CREATE TEMPORARY TABLE intents AS SELECT 1 AS id, 0 AS version, '' AS jobs"
            )
            return
        conn.execute("BEGIN IMMEDIATE")
        if _format(conn) == 1:
            conn.execute(load("sqlite_tables.sql")["intents"])
            conn.execute("INSERT INTO intents (id) VALUES (1)")
            conn.execute("UPDATE facts SET value = ? WHERE name = 'format'", [_FORMAT])
        conn.execute("COMMIT")

    # --- transactions

    @property
    def conn(self) -> sqlite3.Connection:
        """The connection of the open ledger."""
        assert self._conn is not None  # noqa: S101 - opened before anything else
        return self._conn

    def begin(self, unit: UnitOfWork, *, writes: bool) -> None:  # noqa: ARG002 - as every store
        """Begin a transaction."""
        if writes and self._is_read_only:
            raise LedgerError(f"The ledger {self.path} is opened for reading only.")
        if not self._is_read_only:
            self._file.look()
        self.conn.execute("BEGIN IMMEDIATE" if writes else "BEGIN")

    def commit(self, unit: UnitOfWork) -> None:  # noqa: ARG002 - as every store
        """Commit; with ``synchronous = FULL`` the log is on the disk afterwards."""
        if self._file.is_displaced:
            # A checkpoint could write into a file that is another program's now.
            self.conn.execute("PRAGMA wal_autocheckpoint = 0").close()
        self.conn.execute("COMMIT")
        if self._file.is_to_be_saved:
            self._file.save(self.conn)
        elif not self._is_read_only and not self._file.is_displaced:
            self._file.note()

    def rollback(self, unit: UnitOfWork) -> None:  # noqa: ARG002 - as every store
        """Roll back, unless SQLite has already done so (it does when the disk is full)."""
        with suppress(sqlite3.Error):
            self.conn.execute("ROLLBACK")
        if self._file.is_to_be_saved:
            self._file.save(self.conn)

    def close(self, unit: UnitOfWork) -> None:  # noqa: ARG002 - as every store
        """Close the file; if the disk refuses the last checkpoint, the next opening does it.

        A displaced file is saved, with all that was recorded since, and left open.
        """
        if self._file.is_displaced:
            self._file.save(self.conn)
            self._file.leave(self.conn)
            return
        with suppress(sqlite3.Error):
            self.conn.close()
        self._file.close()

    @property
    def idle_s(self) -> None:
        """Nothing is due while there is no work: the lease is a lock, which needs no renewal."""
        return

    @property
    def trouble(self) -> str:
        """Empty: what fails is reported at once."""
        return ""

    def recover(self, unit: UnitOfWork, error: Exception) -> Recovery:  # noqa: ARG002
        """Report the error: a file that failed once is not tried again."""
        return Recovery.REPORT

    # --- errors

    def explain(self, error: Exception) -> OrchestratorError:
        """Return the error that says what went wrong with the file, and what the user can do."""
        if isinstance(error, OrchestratorError):
            return error
        if self._file.is_displaced and (displaced := self._file.error()) is not None:
            return displaced  # and pages of another file seem damaged
        explained = self._explained(error)
        explained.__cause__ = error
        return explained

    def _explained(self, cause: BaseException) -> LedgerError:
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
        if self._is_disk_full(cause, code):
            return LedgerFull(
                f"No space left for the ledger {self.path}. What was recorded is safe: "
                "free some space, then run again to resume."
            )
        if isinstance(cause, OSError):
            return LedgerError(
                f"The ledger {self.path} cannot be used: {reason_of(cause)}. "
                "Choose a writable place with --ledger."
            )
        if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            return LedgerCorrupt(
                f"The ledger {self.path} is damaged ({cause}). Restore it from a backup, or save "
                f'what can be read with `sqlite3 "{self.path}" .recover`; a new ledger would send '
                "every job of the manifest again."
            )
        if code == sqlite3.SQLITE_CONSTRAINT:
            return LedgerMismatch(
                f"The ledger {self.path} refused a contradiction ({cause}). "
                "This is a defect of orchestrator: please report it with the ledger."
            )
        return LedgerError(
            f"The ledger {self.path} {_FAILURES.get(code, _UNKNOWN).format(cause=cause)}"
        )

    def _is_disk_full(self, cause: BaseException, code: int) -> bool:
        if isinstance(cause, OSError):
            return cause.errno in DISK_FULL
        if code != sqlite3.SQLITE_IOERR:
            return code == sqlite3.SQLITE_FULL
        try:
            return shutil.disk_usage(self.path.parent).free < _LITTLE_BYTES
        except OSError:
            return False


def _format(conn: sqlite3.Connection) -> int | None:
    row = conn.execute("SELECT value FROM facts WHERE name = 'format'").fetchone()
    return row[0] if row else None


_UNKNOWN = "cannot be used: {cause!r}."
_LOCKED = "is locked by another program, perhaps a backup ({cause}). Run again when it is done."
_FORBIDDEN = (
    "cannot be opened for writing. Make the file and its folder writable, "
    "or choose another with --ledger."
)
_FAILURES = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: _FORBIDDEN,
    sqlite3.SQLITE_CANTOPEN: _FORBIDDEN,
    sqlite3.SQLITE_PERM: _FORBIDDEN,
    sqlite3.SQLITE_IOERR: "cannot be read or written ({cause}): the disk is failing, or a limit on "
    "file size was reached. What was recorded is safe.",
}
