"""State shared by the calls of one transaction: numbers, intents, and waiting saves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.domain.states import TERMINAL, JobState
from orchestrator.errors import LedgerError, LedgerMismatch
from orchestrator.ledger.intents import Intents
from orchestrator.ledger.job_rows import SENT_WIDTH, STATES, is_rest_new
from orchestrator.ledger.run_rules import NO_RUN

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Run
    from orchestrator.ledger.intents import Intent
    from orchestrator.ledger.job_rows import Snapshot
    from orchestrator.ledger.ledger_file import LedgerFile
    from orchestrator.ledger.named_queries import Database

_NEXT = "Nothing was written; run again to resume from the ledger."
_CONTRADICTION = (
    "Job {job.spec.key} ({job.spec.media.key}) should be {saved} in the ledger, but it {stored}. "
    f"Another program changed the ledger, or this is a defect of orchestrator. {_NEXT}"
)
_ENDED = frozenset(state.value for state in TERMINAL)
_PLANNED = JobState.PLANNED.value
_SUBMITTING = JobState.SUBMITTING.value


@dataclass(slots=True)
class Numbers:
    """Numbers that the only writer of a ledger assigns.

    Attributes:
        run: Number of the current run; 0 before ``begin_run``.
        visit: Number of the current start of the run.
        id: Last id of a job.
        seq: Last place in the order of this start.
        row: Last row of the run's report.
    """

    run: int = 0
    visit: int = 0
    id: int = 0
    seq: int = 0
    row: int = 0


class UnitOfWork:
    """Work on a ledger, in the writer's thread, one transaction after another.

    Attributes:
        db: The database.
        numbers: The numbers assigned last.
        intents: Jobs that are about to be sent; their rows do not show it.
        file: The file of the database, if it is one.
    """

    def __init__(self, db: Database, file: LedgerFile | None = None) -> None:
        self.db = db
        self.file = file
        self.numbers = Numbers()
        self.intents = Intents(db)
        self._before = self.numbers
        self._waiting: dict[int, tuple[Job, Snapshot]] = {}  # saves to be written, by job id
        self._written: list[tuple[Job, JobState]] = []
        self._given_rows: list[Job] = []

    @property
    def displaced(self) -> LedgerFile | None:
        """The file of the database, if it is no longer where the next run looks for it."""
        return None if self.file is None or self.file.error() is None else self.file

    # --- a transaction

    def begin(self) -> None:
        """Remember the numbers, for ``undo``."""
        self._before = replace(self.numbers)
        self.intents.begin()

    def finish(self) -> None:
        """Write what waits, before the commit."""
        self.flush()
        self.intents.finish()

    def done(self) -> None:
        """Give the jobs their new saved states: the transaction is committed."""
        for job, state in self._written:
            job.saved_state = state
        self.intents.done()
        self._forget()

    def undo(self) -> None:
        """Restore numbers and rows: the transaction is rolled back."""
        self.numbers = self._before
        self.intents.undo()
        for job in self._given_rows:
            job.row = 0
        self._forget()

    def _forget(self) -> None:
        self._waiting, self._written, self._given_rows = {}, [], []

    # --- numbers

    def follow(self, run: Run) -> None:
        """Work on ``run``: continue after the last numbers in the ledger."""
        last_id, last_row = self.db.read("last_numbers", run=run.number)
        self.numbers = Numbers(run.number, run.visit, id=last_id, row=last_row)

    def give_row(self, job: Job) -> None:
        """Give the job the next row of the run's report."""
        if not self.numbers.run:
            raise LedgerError(NO_RUN)
        self.numbers.row += 1
        job.run_no, job.row = self.numbers.run, self.numbers.row
        self._given_rows.append(job)

    # --- saving

    def put(self, saved: Sequence[Job], snapshots: Sequence[Snapshot]) -> None:
        """Save jobs as their snapshots show them, with the next ``flush``."""
        for job, snapshot in zip(saved, snapshots, strict=True):
            if job.id in self._waiting:  # one statement would keep either of the two saves
                self.flush()
            self._waiting[job.id] = job, snapshot

    def flush(self) -> None:
        """Write the saves that wait.

        Raises:
            LedgerMismatch: The stored state of a job is not the one it was saved with.
            LedgerLocked: Another process took the lease.
        """
        if not self._waiting:
            return
        rows, sent = [], []
        waiting, self._waiting = list(self._waiting.values()), {}
        for job, snapshot in waiting:
            is_ended = snapshot[2] in _ENDED
            if is_ended and (not job.row or job.run_no != self.numbers.run):
                self.give_row(job)
            saved = snapshot[1]
            if self.intents.drop(job.id):
                if saved != _SUBMITTING:  # a caller that missed the intent could cancel a sent job
                    raise LedgerMismatch(
                        _CONTRADICTION.format(job=job, saved=saved, stored="is about to be sent")
                    )
                saved = _PLANNED
                if self.intents.was_new(job.id) and not is_ended and is_rest_new(snapshot):
                    sent.append((snapshot[0], saved, *snapshot[2:SENT_WIDTH]))
                    continue
            place = job.run_no, job.row, 1 if job.skipped else 0
            rows.append((snapshot[0], saved, *snapshot[2:], *place))
        for query, written in (("save_sent", sent), ("save", rows)):
            ids = {row[0] for row in written}
            here = [saved for saved in waiting if saved[0].id in ids]
            self.db.write(query, written, partial(self._mismatch, here))
        self._written.extend((job, STATES[snapshot[2]]) for job, snapshot in waiting)

    def intend(self, sent: Sequence[Job], intents: Sequence[Intent], new: Collection[int]) -> None:
        """Record that these planned jobs are about to be sent; see ``Intents.add`` for ``new``."""
        if not self._waiting.keys().isdisjoint(intent[0] for intent in intents):
            self.flush()
        self.intents.add(intents, new)
        self._written.extend((job, JobState.SUBMITTING) for job in sent)

    def _mismatch(self, saved: Sequence[tuple[Job, Snapshot]]) -> LedgerError:
        """Find the job that was not as expected; the others have their new state already."""
        if (lost := self.intents.lost_lease()) is not None:
            return lost
        for job, snapshot in saved:
            found = self.db.read("states", id=job.id)
            if found != [snapshot[2]]:
                stored = f"is {found[0]} there" if found else "does not exist there"
                return LedgerMismatch(
                    _CONTRADICTION.format(job=job, saved=snapshot[1], stored=stored)
                )
        return LedgerMismatch(f"A job is not in the ledger as this run knows it. {_NEXT}")
