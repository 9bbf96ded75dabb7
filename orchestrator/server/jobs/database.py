"""SQLite file of the service: one writer thread with group commit, and reads on the event loop.

A commit syncs the disk (about a millisecond), an insert takes a few microseconds. Therefore writes
that arrive during a commit share the next one. A write is durable when its ``await`` returns.
Reads are look-ups on indexes, which cost less than a hand-over to a thread.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")
Row: TypeAlias = "tuple[object, ...]"
Outcome: TypeAlias = "tuple[Any, Exception | None]"
"""Value or error of a write."""
log = logging.getLogger(__name__)
FORMAT = 1
CACHE_KIB = 16_000
"""Pages of the file that each of the two connections keeps: the working set of the indexes."""
CHECKPOINT_PAGES = 4000
"""Pages of the log, 16 MB, that are moved to the file at once: a page that changes often moves once
instead of four times."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE, bucket TEXT NOT NULL,
    region TEXT NOT NULL, queue_id TEXT NOT NULL, tag TEXT NOT NULL, state TEXT NOT NULL,
    level INTEGER NOT NULL, input_object TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
    created_at REAL NOT NULL, started_at REAL, ended_at REAL, starts INTEGER NOT NULL DEFAULT 0,
    request BLOB NOT NULL, result BLOB);
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (queue_id, level DESC, seq)
    WHERE state = 'Submitted';
CREATE INDEX IF NOT EXISTS jobs_running ON jobs (seq) WHERE state = 'Running';
CREATE INDEX IF NOT EXISTS jobs_paused ON jobs (queue_id, seq) WHERE state = 'Pause';
CREATE INDEX IF NOT EXISTS jobs_of_input ON jobs (bucket, input_object, seq);
CREATE INDEX IF NOT EXISTS jobs_of_bucket ON jobs (bucket, created_at, seq);
CREATE INDEX IF NOT EXISTS jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS queues (
    queue_id TEXT PRIMARY KEY, bucket TEXT NOT NULL, region TEXT NOT NULL, family TEXT NOT NULL,
    name TEXT NOT NULL, state TEXT NOT NULL, max_size INTEGER NOT NULL,
    max_concurrent INTEGER NOT NULL, notify BLOB NOT NULL, created_at REAL NOT NULL,
    updated_at REAL NOT NULL, UNIQUE (bucket, family, name));
CREATE TABLE IF NOT EXISTS activations (
    bucket TEXT NOT NULL, family TEXT NOT NULL, region TEXT NOT NULL, created_at REAL NOT NULL,
    PRIMARY KEY (bucket, family));
CREATE TABLE IF NOT EXISTS templates (
    template_id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    created_at REAL NOT NULL, updated_at REAL NOT NULL, UNIQUE (bucket, name));
"""


def _connect(path: Path, *, durable: bool) -> sqlite3.Connection:
    # isolation_level None: only this module starts and ends transactions.
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    return connection


class Insert:
    """A statement that inserts rows into a table: those of all writes of a commit at once.

    At each statement, SQLite's module lets other threads go on, and must then wait for its turn.
    """

    MAX_ROWS = 64
    """Rows of one statement; the module keeps about as many prepared statements."""

    def __init__(self, table: str, columns: Sequence[str], same: dict[str, str]) -> None:
        """Write the statement.

        Args:
            table: The table.
            columns: Columns of a row's values.
            same: Text by column of those that have the same one in all rows.
        """
        names = ", ".join((*columns, *same))
        self._head = f"INSERT INTO {table} ({names}) VALUES "  # noqa: S608 - our own names
        self._row = f"({', '.join([*('?' for _ in columns), *map(_quoted, same.values())])})"

    def carry_out(self, connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
        """Insert rows; up to ``MAX_ROWS`` by one statement."""
        for start in range(0, len(rows), self.MAX_ROWS):
            part = rows[start : start + self.MAX_ROWS]
            sql = self._head + ", ".join([self._row] * len(part))
            connection.execute(sql, [value for row in part for value in row]).close()


Act: TypeAlias = "Callable[[sqlite3.Connection], Any] | Insert"
_Write: TypeAlias = "tuple[Act, Sequence[Row], Callable[[], object] | None, asyncio.Future[Any]]"
"""One write that waits for its commit: as :meth:`Database.write` and ``insert`` have it."""


class Database:
    """One file, one writer."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._writer = _connect(path, durable=durable)
        self._reader = _connect(path, durable=durable)
        self._pool = ThreadPoolExecutor(1, "local-database")
        self._waiting: list[_Write] = []
        self._flusher: asyncio.Task[None] | None = None
        self._is_closed = False
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, FORMAT}:
            self.close_now()
            raise sqlite3.DatabaseError(
                f"{path} has format {version}, and this program reads {FORMAT}: use the program "
                "that wrote it, or another root."
            )
        self._writer.executescript(SCHEMA)
        self._writer.execute(f"PRAGMA user_version = {FORMAT}")

    def read(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        """Return the rows of a quick look-up, on the calling thread."""
        return self._reader.execute(sql, parameters).fetchall()

    def write_now(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        """Commit one statement on the calling thread: for start-up, before requests arrive."""
        self._writer.execute(sql, parameters)

    async def write(
        self,
        act: Callable[[sqlite3.Connection], T],
        committed: Callable[[], object] | None = None,
    ) -> T:
        """Run ``act`` in the writer thread and commit it.

        An exception in ``act`` undoes only that act, and is raised here. ``act`` may be called
        twice, the first time without effect, if another act of its batch fails. ``committed`` is
        called on the loop before any later commit, also if the caller was cancelled meanwhile.

        Raises:
            sqlite3.ProgrammingError: The database is closed.
        """
        value: T = await self._put(act, (), committed)
        return value

    def insert(
        self, into: Insert, rows: Sequence[Row], committed: Callable[[], object] | None = None
    ) -> asyncio.Future[None]:
        """Commit rows of a table, all or none; ``committed`` as in :meth:`write`."""
        return self._put(into, rows, committed)

    def _put(
        self,
        act: Act,
        rows: Sequence[Row],
        committed: Callable[[], object] | None,
    ) -> asyncio.Future[Any]:
        if self._is_closed:
            raise sqlite3.ProgrammingError("the database of the service is closed")
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((act, rows, committed, future))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        return future

    async def execute(
        self,
        sql: str,
        parameters: tuple[object, ...] = (),
        committed: Callable[[], object] | None = None,
    ) -> None:
        """Commit one statement; ``committed`` as in :meth:`write`."""
        await self.write(lambda connection: connection.execute(sql, parameters).close(), committed)

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                results = await loop.run_in_executor(self._pool, self._commit, batch)
                for (_, _, committed, future), (value, error) in zip(batch, results, strict=True):
                    if committed is not None and error is None:
                        committed()
                    if future.done():  # its request was cancelled; the write stays
                        continue
                    if error is None:
                        future.set_result(value)
                    else:
                        future.set_exception(error)
        finally:
            self._flusher = None

    def _commit(self, writes: list[_Write]) -> list[Outcome]:
        try:
            if _is_one_statement(writes):  # which is a transaction of its own
                return self._together(writes)
            return self._transaction(writes, self._together)
        except Exception:  # noqa: BLE001 - one write failed: repeat each in a savepoint to find it
            log.debug("repeating a batch of %d writes one by one", len(writes))
        try:
            return self._transaction(writes, self._one_by_one)
        except sqlite3.Error as error:  # disk full, I/O error: nothing was written
            return [(None, error)] * len(writes)

    def _transaction(
        self, writes: list[_Write], carry_out: Callable[[list[_Write]], list[Outcome]]
    ) -> list[Outcome]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            outcomes = carry_out(writes)
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return outcomes

    def _together(self, writes: list[_Write]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for act, group in groupby(writes, itemgetter(0)):
            if isinstance(act, Insert):
                several = [rows for _, rows, _, _ in group]
                act.carry_out(self._writer, [row for rows in several for row in rows])
                outcomes += [(None, None)] * len(several)
            else:
                outcomes += [(act(self._writer), None) for _ in group]
        return outcomes

    def _one_by_one(self, writes: list[_Write]) -> list[Outcome]:
        return [self._one(write) for write in writes]

    def _one(self, write: _Write) -> Outcome:
        act, rows, _, _ = write
        self._writer.execute("SAVEPOINT one")
        try:
            if isinstance(act, Insert):
                value = None
                act.carry_out(self._writer, rows)
            else:
                value = act(self._writer)
        except Exception as error:
            if not self._writer.in_transaction:
                raise  # a full disk or an I/O error has ended the whole transaction
            self._writer.execute("ROLLBACK TO one")
            self._writer.execute("RELEASE one")
            return None, error
        self._writer.execute("RELEASE one")
        return value, None

    async def close(self) -> None:
        """Commit the pending writes, then close."""
        self._is_closed = True
        while self._flusher is not None:
            await asyncio.shield(self._flusher)
        self.close_now()

    def close_now(self) -> None:
        """Close both connections."""
        self._pool.shutdown()
        self._reader.close()
        self._writer.close()


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _is_one_statement(writes: list[_Write]) -> bool:
    first = writes[0][0]
    return (
        isinstance(first, Insert)
        and all(act is first for act, *_ in writes)
        and sum(len(rows) for _, rows, _, _ in writes) <= first.MAX_ROWS
    )
