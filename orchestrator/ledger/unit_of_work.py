"""What one group of ledger work shares: the connection, the numbers given out, and the saves that wait to be written as one."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from orchestrator.domain.states import TERMINAL, JobState
from orchestrator.errors import LedgerError, LedgerMismatch
from orchestrator.ledger.intents import Intents
from orchestrator.ledger.job_rows import SENT, STATES, is_rest_new
from orchestrator.ledger.statements import SAVE, SAVE_SENT
from orchestrator.ledger.tables import has_row, jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from sqlalchemy import Connection

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Run
    from orchestrator.ledger.intents import Intent
    from orchestrator.ledger.job_rows import Snapshot

_NEXT = "Nothing was written; run again to go on from the ledger."
_CONTRADICTION = (
    "Job {job.spec.key} ({job.spec.media.key}) should be {saved} in the ledger, but {stored} there: another program changed the ledger, "
    f"or this is a defect of orchestrator. {_NEXT}"
)
_ENDED = frozenset(state.value for state in TERMINAL)
_PLANNED = JobState.PLANNED.value
_SUBMITTING = JobState.SUBMITTING.value


@dataclass(slots=True)
class Numbers:
    """Numbers that only the one writer of a ledger gives out.

    Attributes:
        run: Number of the run that is worked on; 0 before ``begin_run``.
        visit: The present visit.
        id: Last id of a job.
        seq: Last place in the order of this visit.
        row: Last row of the run's report.
    """

    run: int = 0
    visit: int = 0
    id: int = 0
    seq: int = 0
    row: int = 0


@dataclass(slots=True)
class UnitOfWork:
    """Works on the ledger, in the writer's thread.

    Attributes:
        conn: The connection.
        changed: How many rows this connection has changed so far.
        numbers: What is given out next.
        intents: Jobs that are about to be sent; their rows do not show it.
    """

    conn: Connection
    changed: Callable[[], int]
    numbers: Numbers = field(default_factory=Numbers)
    intents: Intents = field(default_factory=Intents)
    _jobs: list[Job] = field(default_factory=list)
    _snapshots: list[Snapshot] = field(default_factory=list)
    _ids: set[int] = field(default_factory=set)
    _written: list[tuple[Job, JobState]] = field(default_factory=list)
    _given_rows: list[Job] = field(default_factory=list)
    _before: Numbers = field(default_factory=Numbers)

    # --- a group of work

    def begin(self) -> None:
        """Remember the numbers as they are, for ``undo``."""
        self._before = replace(self.numbers)
        self.intents.begin()

    def finish(self) -> None:
        """Write what waits; comes before the commit."""
        self.flush()
        self.intents.finish(self.conn)

    def done(self) -> None:
        """The group is committed: the jobs are as the ledger has them."""
        for job, state in self._written:
            job.saved_state = state
        self.intents.done()
        self._forget()

    def undo(self) -> None:
        """The group is rolled back: numbers and rows are as before."""
        self.numbers = self._before
        self.intents.undo()
        for job in self._given_rows:
            job.row = 0
        self._forget()

    def _forget(self) -> None:
        self._jobs, self._snapshots, self._ids = [], [], set()
        self._written, self._given_rows = [], []

    # --- numbers

    def follow(self, run: Run) -> None:
        """Work on ``run``: go on from the last numbers that the ledger holds."""
        last_row = select(func.max(jobs.c.row)).where(jobs.c.run_no == run.number, has_row)
        last_id = select(func.max(jobs.c.id))
        self.numbers = Numbers(
            run.number,
            run.visit,
            self.conn.execute(last_id).scalar() or 0,
            0,
            self.conn.execute(last_row).scalar() or 0,
        )

    def give_row(self, job: Job) -> None:
        """Give the job the next row of the run's report."""
        if not self.numbers.run:
            raise LedgerError("A job cannot end outside a run: begin_run comes first.")
        self.numbers.row += 1
        job.run_no, job.row = self.numbers.run, self.numbers.row
        self._given_rows.append(job)

    # --- saving

    def put(self, saved: Sequence[Job], snapshots: Sequence[Snapshot]) -> None:
        """Save jobs as they were; written with the next ``flush``, together with others."""
        for job, snapshot in zip(saved, snapshots, strict=True):
            if (
                job.id in self._ids
            ):  # twice in one statement would keep one of them, and not say which
                self.flush()
            self._ids.add(job.id)
            self._jobs.append(job)
            self._snapshots.append(snapshot)

    def flush(self) -> None:
        """Write the saves that wait."""
        if not self._jobs:
            return
        rows, sent = [], []
        for job, snapshot in zip(self._jobs, self._snapshots, strict=True):
            is_ended = snapshot[2] in _ENDED
            if is_ended and (not job.row or job.run_no != self.numbers.run):
                self.give_row(job)
            saved = snapshot[1]
            if self.intents.drop(self.conn, job.id):
                if (
                    saved != _SUBMITTING
                ):  # else a job on its way could be cancelled, say, by one who has not heard of it
                    raise LedgerMismatch(
                        _CONTRADICTION.format(job=job, saved=saved, stored="is about to be sent")
                    )
                saved = _PLANNED
                if self.intents.was_new(job.id) and not is_ended and is_rest_new(snapshot):
                    sent.append((snapshot[0], saved, *snapshot[2 : len(SENT)]))
                    continue
            rows.append(
                (snapshot[0], saved, *snapshot[2:], job.run_no, job.row, 1 if job.skipped else 0)
            )
        before = self.changed()
        SAVE_SENT.write(
            self.conn, sent
        )  # most answers are of this kind, and it takes three quarters of the time
        SAVE.write(self.conn, rows)
        if self.changed() - before != len(self._jobs):
            raise self._mismatch()
        self._written.extend(
            (job, STATES[snapshot[2]])
            for job, snapshot in zip(self._jobs, self._snapshots, strict=True)
        )
        self._jobs, self._snapshots, self._ids = [], [], set()

    def intend(self, sent: Sequence[Job], intents: Sequence[Intent], new: Collection[int]) -> None:
        """Record that these planned jobs are about to be sent; those with ids in ``new`` are otherwise as they were made."""
        if not self._ids.isdisjoint(intent[0] for intent in intents):
            self.flush()
        self.intents.add(self.conn, intents, new)
        self._written.extend((job, JobState.SUBMITTING) for job in sent)

    def _mismatch(self) -> LedgerError:
        """Which job was not as expected; those that were have their new state already."""
        if (lost := self.intents.lost_lease(self.conn)) is not None:
            return lost
        for job, snapshot in zip(self._jobs, self._snapshots, strict=True):
            found = self.conn.execute(select(jobs.c.state).where(jobs.c.id == job.id)).scalar()
            if found != snapshot[2] or found is None:
                stored = f"is {found}" if found else "does not exist"
                return LedgerMismatch(
                    _CONTRADICTION.format(job=job, saved=snapshot[1], stored=stored)
                )
        return LedgerMismatch(f"A job is not in the ledger as this run knows it. {_NEXT}")
