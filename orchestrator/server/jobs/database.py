"""The service's own SQLite file: one writer thread that commits many requests at once, and quick reads on the event loop.

A commit costs a sync of the disk (about a millisecond), an insert a few microseconds: so writes that arrive while one commit runs share
the next one. What a write did is durable when its ``await`` returns. Reads are look-ups on indexes, cheaper than handing them to a thread.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

T = TypeVar("T")
log = logging.getLogger(__name__)
FORMAT = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, job_id TEXT NOT NULL UNIQUE, bucket TEXT NOT NULL, region TEXT NOT NULL, queue_id TEXT NOT NULL,
    tag TEXT NOT NULL, state TEXT NOT NULL, level INTEGER NOT NULL, input_object TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
    created_at REAL NOT NULL, started_at REAL, ended_at REAL, starts INTEGER NOT NULL DEFAULT 0, request BLOB NOT NULL, result BLOB);
CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (queue_id, level DESC, seq) WHERE state = 'Submitted';
CREATE INDEX IF NOT EXISTS jobs_running ON jobs (seq) WHERE state = 'Running';
CREATE INDEX IF NOT EXISTS jobs_paused ON jobs (queue_id, seq) WHERE state = 'Pause';
CREATE INDEX IF NOT EXISTS jobs_of_input ON jobs (bucket, input_object, seq);
CREATE INDEX IF NOT EXISTS jobs_of_bucket ON jobs (bucket, created_at, seq);
CREATE INDEX IF NOT EXISTS jobs_ended ON jobs (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS queues (
    queue_id TEXT PRIMARY KEY, bucket TEXT NOT NULL, region TEXT NOT NULL, family TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
    max_size INTEGER NOT NULL, max_concurrent INTEGER NOT NULL, notify BLOB NOT NULL, created_at REAL NOT NULL, updated_at REAL NOT NULL,
    UNIQUE (bucket, family, name));
CREATE TABLE IF NOT EXISTS activations (
    bucket TEXT NOT NULL, family TEXT NOT NULL, region TEXT NOT NULL, created_at REAL NOT NULL, PRIMARY KEY (bucket, family));
CREATE TABLE IF NOT EXISTS templates (
    template_id TEXT PRIMARY KEY, bucket TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, created_at REAL NOT NULL,
    updated_at REAL NOT NULL, UNIQUE (bucket, name));
"""


def _connect(path: Path, *, durable: bool) -> sqlite3.Connection:
    # isolation_level None: transactions are begun and ended by us, and by nobody else
    connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
    connection.execute(
        "PRAGMA cache_size = -16000"
    )  # 16 MB: the working set of the indexes, not of the jobs
    return connection


class Database:
    """One file, one writer."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._writer = _connect(path, durable=durable)
        self._reader = _connect(path, durable=durable)
        self._pool = ThreadPoolExecutor(1, "local-database")
        self._waiting: list[tuple[Callable[[sqlite3.Connection], Any], asyncio.Future[Any]]] = []
        self._flusher: asyncio.Task[None] | None = None
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version not in {0, FORMAT}:
            self.close_now()
            message = f"{path} has format {version}, this program reads {FORMAT}: use the program that wrote it, or another root."
            raise sqlite3.DatabaseError(message)
        self._writer.executescript(SCHEMA)
        self._writer.execute(f"PRAGMA user_version = {FORMAT}")

    def read(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        """Rows of a quick look-up, on the calling thread."""
        return self._reader.execute(sql, parameters).fetchall()

    def write_now(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        """One statement, committed, on the calling thread: for start-up, before requests come."""
        self._writer.execute(sql, parameters)

    async def write(self, act: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``act`` in the writer thread and commit; what it raises undoes it alone and is raised here.

        It may be called twice (when a companion in its batch fails), the first time without effect.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((act, future))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        return await future

    async def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> None:
        """One statement, committed."""
        await self.write(lambda connection: connection.execute(sql, parameters).close())

    async def _flush(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                results = await loop.run_in_executor(
                    self._pool, self._commit, [act for act, _ in batch]
                )
                for (_, future), (value, error) in zip(batch, results, strict=True):
                    if future.done():  # its request was given up; what it wrote stays written
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
        except Exception:  # noqa: BLE001 - one of them fails: find out which, each with a way back of its own
            log.debug("a batch of %d writes is done again one by one", len(acts))
        try:
            return self._transaction(acts, self._one)
        except sqlite3.Error as error:  # disk full, I/O error: nothing of the batch is true
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
            if (
                not self._writer.in_transaction
            ):  # a full disk or an I/O error ends the whole transaction, companions included
                raise
            self._writer.execute("ROLLBACK TO one")
            self._writer.execute("RELEASE one")
            return None, error
        self._writer.execute("RELEASE one")
        return value, None

    async def close(self) -> None:
        """Commit what waits, then close."""
        if self._flusher is not None:
            await asyncio.shield(self._flusher)
        self.close_now()

    def close_now(self) -> None:
        """Close both connections."""
        self._pool.shutdown()
        self._reader.close()
        self._writer.close()
