"""A durable ledger that follows the one in memory, and must hold the same at every moment.

The runner works on the ledger in memory, whose commits take time and may be cut off anywhere. At
the instant at which a change takes effect there, the mirror makes it in SQLite or PostgreSQL, and
the answers are compared. So they go through every history that a seed draws.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import LedgerError, LedgerFull, OrchestratorError
from orchestrator.ledger.group_commit import GroupWriter, Task
from orchestrator.ledger.lease import FileLease, LedgerLock
from orchestrator.ledger.postgres.store import PostgresStore
from orchestrator.ledger.sql_ledger import SqlLedger
from orchestrator.ledger.sqlite import SqliteStore
from orchestrator.postgresql import parse_address
from tests.answers import plain
from tests.connection import connection
from tests.simulation.watch import WatchedLedger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Sequence
    from pathlib import Path

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Counts, Holder, Run, Usage
    from orchestrator.domain.spec import JobKey, JobSpec, Place
    from orchestrator.domain.states import JobState
    from orchestrator.ledger.lease import Lease
    from orchestrator.ledger.unit_of_work import UnitOfWork
    from orchestrator.testing.memory_ledger import MemoryStore
    from tests.simulation.watch import Watch

T = TypeVar("T")


class _Done:
    """An awaitable that is already done."""

    def __init__(self, result: Any, error: OrchestratorError | None) -> None:
        self._result, self._error = result, error

    def __await__(self) -> Generator[None, None, Any]:
        if self._error is not None:
            raise self._error
        return self._result
        yield


class _AtOnce(GroupWriter):
    """A writer without a thread: each change is a transaction that runs at once."""

    def __init__(self, store: SqliteStore | PostgresStore) -> None:
        self._store = store
        self.unit = store.open()
        self._is_closed = False

    def submit(self, work: Callable[[UnitOfWork], T], *, writes: bool, rows: int = 1) -> Any:
        if self._is_closed:
            return _Done(None, LedgerError("The ledger is closed."))
        task = Task(work, writes, None, rows)  # type: ignore[arg-type]  # no future to resolve
        failure = self._work(self.unit, [task], writes=writes)
        return _Done(task.result, failure)

    async def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._store.close(self.unit)


class Mirror:
    """A durable ledger, held by one process.

    Args:
        place: The ledger file, or the address of a database.
    """

    def __init__(self, place: Path | str) -> None:
        self._lock: LedgerLock | None = None
        lease: Lease
        if isinstance(place, str):
            store = PostgresStore(parse_address(place))
            self._writer, lease = _AtOnce(store), store.lease
        else:
            self._writer = _AtOnce(SqliteStore(place))
            # The mirror compares answers; it does not test durability.
            connection(self._writer.unit).execute("PRAGMA synchronous = OFF")
            self._lock = LedgerLock(place.with_name(place.name + ".lock"))
            lease = FileLease(self._lock)
        self._ledger = SqlLedger(self._writer, lease, str(place))

    def ask(self, call: Callable[[SqlLedger], Coroutine[Any, Any, Any]]) -> Any:
        """Return the answer of a call, or its error."""
        try:
            call(self._ledger).send(None)
        except StopIteration as end:
            return end.value
        except OrchestratorError as error:
            return error
        raise AssertionError("the ledger waited for something")

    def die(self) -> None:
        """End the lease, as the death of the process does in time; committed changes stay."""
        if self._lock is not None:
            self._lock.release(removes=False)
        else:
            connection(self._writer.unit).execute("UPDATE lease SET expires_at = 0")
        self.ask(lambda _: self._writer.close())


class MirroredLedger(WatchedLedger):
    """A watched ledger in memory with a mirror."""

    def __init__(
        self, store: MemoryStore, watch: Watch, pause: Callable[[], Awaitable[None]], mirror: Mirror
    ) -> None:
        super().__init__(store, watch, self._mirrored_pause)
        self._own_pause = pause
        self._mirror = mirror
        # By task: actions at its next pauses.
        self._changes: dict[asyncio.Task[Any] | None, list[Callable[[], None]]] = {}

    async def _mirrored_pause(self) -> None:
        """Pause before and after a change; the mirror follows before the second pause can fail."""
        self._changes[asyncio.current_task()].pop(0)()
        await self._own_pause()

    async def _change(
        self, change: Awaitable[T], mirrored: Callable[[SqlLedger], Coroutine[Any, Any, Any]]
    ) -> T:
        answers: list[Any] = []
        task = asyncio.current_task()
        self._changes[task] = [lambda: None, lambda: answers.append(self._mirror.ask(mirrored))]
        try:
            answer = await change
        except LedgerFull:
            raise  # drawn: before the change in both ledgers, or after it in both
        except OrchestratorError as error:
            self._compare(self._mirror.ask(mirrored), error)
            raise
        self._compare(answers, [answer])
        return answer

    async def _same(
        self, answer: Awaitable[T], mirrored: Callable[[SqlLedger], Coroutine[Any, Any, Any]]
    ) -> T:
        known = await answer
        self._compare(self._mirror.ask(mirrored), known)
        return known

    def _compare(self, in_sqlite: Any, in_memory: Any) -> None:
        assert plain(in_sqlite) == plain(in_memory), f"in SQLite {in_sqlite}, in memory {in_memory}"

    # --- changes

    async def acquire(self, holder: Holder) -> None:
        await self._same(super().acquire(holder), lambda ledger: ledger.acquire(holder))
        await self._look_at_all()  # including what the last process left

    async def begin_run(self, name: str, now: float, report: str) -> Run:
        return await self._change(
            super().begin_run(name, now, report), lambda ledger: ledger.begin_run(name, now, report)
        )

    async def end_run(self, run: Run, now: float) -> None:
        await self._change(super().end_run(run, now), lambda ledger: ledger.end_run(run, now))

    async def add(
        self, run: Run, specs: Sequence[JobSpec], retry: Collection[JobState] = ()
    ) -> list[Job]:
        return await self._change(
            super().add(run, specs, retry), lambda ledger: ledger.add(run, specs, retry)
        )

    async def leave_unseen(self, run: Run) -> None:
        await self._change(super().leave_unseen(run), lambda ledger: ledger.leave_unseen(run))

    async def take_unseen(self, run: Run, visits: Collection[int], limit: int = 1000) -> list[Job]:
        return await self._change(
            super().take_unseen(run, visits, limit),
            lambda ledger: ledger.take_unseen(run, visits, limit),
        )

    async def drop_unseen(self, run: Run, now: float, visits: Collection[int] | None = None) -> int:
        return await self._change(
            super().drop_unseen(run, now, visits),
            lambda ledger: ledger.drop_unseen(run, now, visits),
        )

    async def save(self, jobs: Sequence[Job]) -> None:
        if jobs:
            twins = [replace(job) for job in jobs]
            await self._change(super().save(jobs), lambda ledger: ledger.save(twins))
            assert [(job.row, job.run_no, job.saved_state) for job in twins] == [
                (job.row, job.run_no, job.saved_state) for job in jobs
            ]

    async def intend(self, jobs: Sequence[Job]) -> None:
        twins = [replace(job) for job in jobs]
        await self._change(super().intend(jobs), lambda ledger: ledger.intend(twins))
        assert [job.saved_state for job in twins] == [job.saved_state for job in jobs]

    async def close(self) -> None:
        await self._look_at_all()
        await self._same(super().close(), lambda ledger: ledger.close())

    async def _look_at_all(self) -> None:
        await self.find(list(self.store.jobs))
        if self.store.runs:
            await self.counts(self.store.runs[-1])
            await self.usage(self.store.runs[-1])
            await self.runs(10)

    # --- questions

    async def ready(
        self,
        run: Run,
        level: int,
        share: str,
        limit: int,
        without: Collection[int],
        now: float,
        closed: Collection[Place] = (),
    ) -> list[Job]:
        held, shut = set(without), set(closed)
        question = super().ready(run, level, share, limit, held, now, shut)
        return await self._same(
            question, lambda ledger: ledger.ready(run, level, share, limit, held, now, shut)
        )

    async def next_ready_at(
        self, run: Run, without: Collection[int], closed: Collection[Place] = ()
    ) -> float | None:
        shut = set(closed)
        return await self._same(
            super().next_ready_at(run, without, shut),
            lambda ledger: ledger.next_ready_at(run, without, shut),
        )

    async def in_states(
        self, states: Collection[JobState], after_id: int = 0, limit: int = 1000
    ) -> list[Job]:
        return await self._same(
            super().in_states(states, after_id, limit),
            lambda ledger: ledger.in_states(states, after_id, limit),
        )

    async def rows(self, run: Run, after_row: int = 0, limit: int = 1000) -> list[Job]:
        return await self._same(
            super().rows(run, after_row, limit), lambda ledger: ledger.rows(run, after_row, limit)
        )

    async def unseen_visits(self, run: Run) -> list[int]:
        return await self._same(
            super().unseen_visits(run), lambda ledger: ledger.unseen_visits(run)
        )

    async def counts(self, run: Run) -> Counts:
        return await self._same(super().counts(run), lambda ledger: ledger.counts(run))

    async def usage(self, run: Run) -> list[Usage]:
        async def in_order(usage: Awaitable[list[Usage]]) -> list[Usage]:
            return sorted(await usage)

        return await self._same(
            in_order(super().usage(run)), lambda ledger: in_order(ledger.usage(run))
        )

    async def runs(self, limit: int) -> list[Run]:
        return await self._same(super().runs(limit), lambda ledger: ledger.runs(limit))

    async def find(self, keys: Sequence[JobKey]) -> dict[JobKey, Job]:
        return await self._same(super().find(keys), lambda ledger: ledger.find(keys))
