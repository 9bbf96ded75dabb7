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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
log = logging.getLogger(__name__)
FORMAT = 1

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
    connection.execute("PRAGMA cache_size = -16000")  # 16 MB: the working set of the indexes
    return connection


class _Write(NamedTuple):
    """One write that waits for its commit; see :meth:`Database.write`."""

    act: Callable[[sqlite3.Connection], Any]
    committed: Callable[[], object] | None
    future: asyncio.Future[Any]


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
        if self._is_closed:
            raise sqlite3.ProgrammingError("the database of the service is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(act, committed, future))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        return await future

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
                results = await loop.run_in_executor(
                    self._pool, self._commit, [write.act for write in batch]
                )
                for (_, committed, future), (value, error) in zip(batch, results, strict=True):
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

    def _commit(
        self, acts: list[Callable[[sqlite3.Connection], Any]]
    ) -> list[tuple[Any, Exception | None]]:
        try:
            return self._transaction(acts, lambda act: (act(self._writer), None))
        except Exception:  # noqa: BLE001 - one act failed: repeat each in a savepoint to find it
            log.debug("repeating a batch of %d writes one by one", len(acts))
        try:
            return self._transaction(acts, self._one)
        except sqlite3.Error as error:  # disk full, I/O error: nothing was written
            return [(None, error)] * len(acts)

    def _transaction(
        self,
        acts: list[Callable[[sqlite3.Connection], Any]],
        carry_out: Callable[[Any], tuple[Any, Exception | None]],
    ) -> list[tuple[Any, Exception | None]]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            results = [carry_out(act) for act in acts]
            self._writer.execute("COMMIT")
        except BaseException:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise
        return results

    def _one(self, act: Callable[[sqlite3.Connection], Any]) -> tuple[Any, Exception | None]:
        self._writer.execute("SAVEPOINT one")
        try:
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
