"""The ledger port over SQL: each method is one piece of work for the group writer."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from orchestrator.errors import LedgerError, LedgerLocked
from orchestrator.ledger import queries, runs
from orchestrator.ledger.job_rows import is_rest_new, micros, snapshot
from orchestrator.ledger.lease import locked_message, lost_message

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Counts, Holder, Run, Usage
    from orchestrator.domain.spec import JobKey, JobSpec, Place
    from orchestrator.domain.states import JobState
    from orchestrator.ledger.group_commit import GroupWriter
    from orchestrator.ledger.lease import Lease
    from orchestrator.ledger.ledger_file import LedgerFile
    from orchestrator.ledger.unit_of_work import UnitOfWork


class SqlLedger:
    """Durable state of the jobs of one manifest in a SQL database (``ports.Ledger``).

    Args:
        writer: Does the work, in its own thread.
        lease: Keeps other runs out.
        name: The ledger as the user named it, for messages.
    """

    def __init__(self, writer: GroupWriter, lease: Lease, name: str) -> None:
        self._writer = writer
        self._lease = lease
        self._name = name
        self._has_lease = False

    # --- the lease

    async def acquire(self, holder: Holder) -> None:
        """Take the lease. ``LedgerLocked`` names the live holder."""

        def work(unit: UnitOfWork) -> None:
            if not self._lease.take(unit, holder):
                raise LedgerLocked(locked_message(self._name, self._lease.holder(unit)))
            unit.intents.take_over()

        await self._writer.submit(work, writes=True)
        self._has_lease = True

    async def heartbeat(self, now: float) -> None:
        """Show that the holder lives. ``LedgerLocked`` if the lease was lost."""

        def work(unit: UnitOfWork) -> LedgerFile | None:
            if unit.displaced:
                return unit.file  # its lock may be gone with it
            if not self._lease.renew(unit, now):
                raise LedgerLocked(lost_message(self._name))
            return None

        self._announce(await self._writer.submit(work, writes=True))

    def may_send(self) -> bool:
        """Return True if no other process can have taken the lease by now."""
        return self._lease.is_sure

    def trouble(self) -> str:
        """Return why nothing can be recorded now, in words; empty if nothing is known of it."""
        return self._writer.trouble

    async def holder(self) -> Holder | None:
        """Return the process that works on the ledger now, or None."""
        return await self._writer.submit(self._lease.holder, writes=False)

    async def close(self) -> None:
        """Give the lease back, if held, and close."""

        def give_back(unit: UnitOfWork) -> LedgerFile | None:
            self._lease.give_back(unit)
            return unit.file

        file: LedgerFile | None = None
        try:
            if self._has_lease and not self._writer.is_closed:
                # A full disk fails this, and must not hide why the run ended: the next run waits
                # for the end of the lease, or of the lock.
                with suppress(LedgerError):
                    file = await self._writer.submit(give_back, writes=True)
        finally:
            await self._writer.close()
            self._lease.release()
            self._has_lease = False
        self._announce(file)

    def _announce(self, file: LedgerFile | None) -> None:
        """Raise the error of a displaced file, once: the run then ends in order."""
        if file is None or file.is_announced:
            return
        if (error := file.error()) is not None:
            file.is_announced = True
            raise error

    # --- runs

    async def begin_run(self, name: str, now: float, report: str) -> Run:
        """Resume the open run, or begin a new one."""
        if not self._lease.is_held:
            raise LedgerError(f"The ledger {self._name} must be acquired before a run begins.")
        return await self._writer.submit(
            lambda unit: runs.begin(unit, name, now, report), writes=True
        )

    async def end_run(self, run: Run, now: float) -> None:
        """Close the run. ``LedgerMismatch`` if one of its jobs is open."""
        await self._writer.submit(lambda unit: runs.end(unit, run, now), writes=True)

    async def last_run(self) -> Run | None:
        """Return the open run, else the one that ended last."""
        return await self._writer.submit(runs.last, writes=False)

    async def runs(self, limit: int) -> list[Run]:
        """Return up to ``limit`` runs, the latest first."""
        return await self._writer.submit(lambda unit: runs.latest(unit, limit), writes=False)

    async def usage(self, run: Run) -> list[Usage]:
        """Return sums over the ended jobs of a run without the skipped ones."""
        return await self._writer.submit(lambda unit: queries.usage(unit, run), writes=False)

    # --- jobs

    async def add(
        self, run: Run, specs: Sequence[JobSpec], retry: Collection[JobState] = ()
    ) -> list[Job]:
        """Make these specs part of the run, in this order."""
        return await self._writer.submit(
            lambda unit: runs.add(unit, run, specs, retry), writes=True
        )

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
        """Return planned jobs of one level and share that may start now, by ``seq``."""
        # The caller's own sets may change while this waits.
        left_out = queries.LeftOut(frozenset(without), frozenset(closed))
        return await self._writer.submit(
            lambda unit: queries.ready(unit, run, (level, share), limit, left_out, now),
            writes=False,
        )

    async def next_ready_at(
        self, run: Run, without: Collection[int], closed: Collection[Place] = ()
    ) -> float | None:
        """Return the earliest ``not_before`` of the planned jobs seen by this start of the run."""
        left_out = queries.LeftOut(frozenset(without), frozenset(closed))
        return await self._writer.submit(
            lambda unit: queries.next_ready_at(unit, run, left_out), writes=False
        )

    async def in_states(
        self, states: Collection[JobState], after_id: int = 0, limit: int = 1000
    ) -> list[Job]:
        """Return jobs in any of ``states``, by id, beyond ``after_id``."""
        wanted = frozenset(states)
        return await self._writer.submit(
            lambda unit: queries.in_states(unit, wanted, after_id, limit), writes=False
        )

    async def unseen_visits(self, run: Run) -> list[int]:
        """Return the visits of the planned jobs that this start of the run has not seen."""
        return await self._writer.submit(
            lambda unit: queries.unseen_visits(unit, run), writes=False
        )

    async def leave_unseen(self, run: Run) -> None:
        """Take the planned jobs that this start of the run has not seen out of it."""
        await self._writer.submit(lambda unit: runs.leave_unseen(unit, run), writes=True)

    async def take_unseen(self, run: Run, visits: Collection[int], limit: int = 1000) -> list[Job]:
        """Make planned jobs that this start of the run has not seen part of it."""
        wanted = list(visits)
        return await self._writer.submit(
            lambda unit: runs.take_unseen(unit, run, wanted, limit), writes=True
        )

    async def drop_unseen(self, run: Run, now: float, visits: Collection[int] | None = None) -> int:
        """Cancel the planned jobs that this start of the run has not seen."""
        wanted = None if visits is None else list(visits)
        return await self._writer.submit(
            lambda unit: runs.drop_unseen(unit, run, now, wanted), writes=True
        )

    async def cancel_left(
        self, job_ids: Collection[int], now: float, besides: Collection[int] = ()
    ) -> int:
        """Cancel those of these jobs that are planned, outside any run."""
        wanted, kept = list(job_ids), list(besides)
        return await self._writer.submit(
            lambda unit: runs.cancel_left(unit, wanted, now, kept), writes=True
        )

    async def save(self, jobs: Sequence[Job]) -> None:
        """Record these jobs as they are now."""
        if not jobs:
            return
        saved = list(jobs)
        snapshots = [snapshot(job) for job in saved]
        await self._writer.submit(
            lambda unit: unit.put(saved, snapshots), writes=True, rows=len(saved)
        )

    async def intend(self, jobs: Sequence[Job]) -> None:
        """Record that these planned jobs are about to be sent."""
        sent = list(jobs)
        intents = [(job.id, job.attempts, micros(job.intent_at) or 0) for job in sent]
        new = [job.id for job in sent if is_rest_new(snapshot(job))]

        def work(unit: UnitOfWork) -> LedgerFile | None:
            # Not raised here: answers that are recorded in the same transaction must be kept.
            if unit.displaced:
                return unit.file
            unit.intend(sent, intents, new)
            return None

        file = await self._writer.submit(work, writes=True, rows=len(sent))
        if file is not None and (error := file.error()) is not None:
            file.is_announced = True
            raise error

    # --- questions

    async def rows(self, run: Run, after_row: int = 0, limit: int = 1000) -> list[Job]:
        """Return the jobs that have a row in the run's report, in the order of rows."""
        return await self._writer.submit(
            lambda unit: queries.rows(unit, run, after_row, limit), writes=False
        )

    async def counts(self, run: Run) -> Counts:
        """Return the number of jobs of the run by state."""
        return await self._writer.submit(lambda unit: queries.counts(unit, run), writes=False)

    async def find(self, keys: Sequence[JobKey]) -> dict[JobKey, Job]:
        """Return the jobs with these keys."""
        return await self._writer.submit(lambda unit: queries.find(unit, keys), writes=False)

    async def same_object(self, specs: Sequence[JobSpec]) -> dict[JobKey, list[JobSpec]]:
        """Return the specs whose media object has jobs under other keys, each with those jobs."""
        return await self._writer.submit(
            lambda unit: queries.same_object(unit, specs), writes=False
        )

    async def remember(self, name: str, value: bytes) -> None:
        """Keep a small value between runs."""
        await self._writer.submit(
            lambda unit: unit.db.change("remember", key=name, value=value), writes=True
        )

    async def recall(self, name: str) -> bytes | None:
        """Return the value kept under ``name``, or None."""
        found = await self._writer.submit(
            lambda unit: unit.db.read("recall", key=name), writes=False
        )
        return bytes.fromhex(found[0]) if found else None
