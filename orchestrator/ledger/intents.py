"""Intents: the jobs that are about to be sent, kept together in one small row.

An intent must be on disk before its request leaves, and is useless once the answer is recorded,
usually milliseconds later. Here it costs a few bytes, and the job's own wide row is written once,
with the answer, instead of twice. Until then that row says ``planned`` and the intent overrides it:
every reader of jobs applies the intents.

The row has a version that grows with each holder of the lease. A process that has lost the lease
without noticing is refused here before it sends anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from orchestrator.domain.states import JobState, Step
from orchestrator.errors import LedgerError, LedgerLocked, LedgerMismatch
from orchestrator.ledger.job_rows import seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.ledger.named_queries import Database

Intent = tuple[int, int, int]
"""A job's id, its attempts including this one, and the instant in microseconds."""

_MOST = 512
"""Beyond this many, all intents move to the rows of their jobs: the one row is written with every
transaction and must stay small."""


class Intents:
    """The intents that the rows of their jobs do not show."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._open: dict[int, Intent] | None = None  # by job id; None: not read yet
        self._version = 0  # 0: we do not hold the lease, and another process may write
        self._new: set[int] = set()  # ids of jobs that changed in nothing but being sent
        self._added: list[int] = []  # ids added in this transaction
        self._is_changed = False
        self._open_before: dict[int, Intent] | None = None
        self._version_before = 0

    # --- a transaction

    def begin(self) -> None:
        """Begin a transaction."""
        if not self._version:
            self._open = None  # another process may have written
        self._version_before = self._version

    def finish(self) -> None:
        """Write the changes, before the commit.

        Raises:
            LedgerLocked: Another process took the lease.
            LedgerMismatch: A job that was added is not planned.
        """
        if self._is_changed:
            if len(self.open) > _MOST:
                self.settle()
            self._write()

    def done(self) -> None:
        """Forget how to undo: the transaction is committed."""
        self._added, self._is_changed, self._open_before = [], False, None

    def undo(self) -> None:
        """Restore the intents: the transaction is rolled back."""
        if self._is_changed:
            self._open = self._open_before
        self._version = self._version_before
        self.done()

    def _write(self) -> None:
        added, self._added = self._added, []
        self._db.expect_one(
            "write_intents",
            lambda: self.lost_lease() or self._not_planned(added),
            intents=orjson.dumps(list(self.open.values())).decode(),
            version=self._version,
            added=orjson.dumps(added).decode(),
            added_count=len(added),
        )

    def _not_planned(self, added: list[int]) -> LedgerMismatch:
        keys = self._db.read("keys_not_planned", ids=added)
        return LedgerMismatch(
            "Jobs that should be planned in the ledger are not, or are missing from it: "
            f"{', '.join(keys) or added}. Another program changed the ledger, or this is a "
            "defect of orchestrator. Nothing was written; run again to resume from the ledger."
        )

    def _to_change(self) -> dict[int, Intent]:
        known = self.open
        if not self._is_changed:
            self._is_changed, self._open_before = True, dict(known)
        return known

    # --- the holder of the lease

    def take_over(self) -> None:
        """Move an earlier holder's intents to the rows, and keep it from writing here again."""
        self._open = None
        [version] = self._db.read("intents_version")
        self._version = version + 1
        self._db.change("set_intents_version", version=self._version)
        self.settle()

    def lost_lease(self) -> LedgerLocked | None:
        """Return an error if another process has taken the lease from this one."""
        if not self._version:
            return None
        if self._db.read("intents_version") == [self._version]:
            return None
        return LedgerLocked(
            "The lease of the ledger was lost: another run took it. "
            "`orchestrator status` shows its progress."
        )

    def add(self, added: Sequence[Intent], new: Collection[int]) -> None:
        """Add intents of planned jobs; ``finish`` checks that they are planned.

        Jobs with ids in ``new`` have not changed since they were made.

        Raises:
            LedgerMismatch: A job has an intent already.
        """
        if not self._version:
            raise LedgerError("The ledger must be acquired before a job is sent.")
        known = self._to_change()
        self._new.difference_update([intent[0] for intent in added])
        self._new.update(new)
        for intent in added:
            if intent[0] in known:
                raise LedgerMismatch(
                    f"Job {intent[0]} (id) is about to be sent already. "
                    "This is a defect of orchestrator."
                )
            known[intent[0]] = intent
            self._added.append(intent[0])

    def drop(self, job_id: int) -> bool:
        """Remove a job's intent, because its row is being written; return False if it had none."""
        return job_id in self.open and self._to_change().pop(job_id) is not None

    def was_new(self, job_id: int) -> bool:
        """Return True, once, if the row of this job was as new when its intent was added."""
        was_new = job_id in self._new
        self._new.discard(job_id)
        return was_new

    def settle(self) -> None:
        """Move all intents to the rows of their jobs."""
        if not self.open:
            return
        if self._added:
            self._write()
        known = self._to_change()
        settled = list(known.values())
        self._db.write("submit_jobs", settled, lambda: self._not_planned([i[0] for i in settled]))
        known.clear()
        self._new.clear()

    # --- readers

    @property
    def open(self) -> dict[int, Intent]:
        """The intents by job id."""
        if self._open is None:
            self._open = {intent[0]: tuple(intent) for intent in self._db.read("intents")}
        return self._open

    def shown(self, job: Job) -> Job:
        """Apply its intent, if any, to a job that was read from its row."""
        if (intent := self.open.get(job.id)) is not None:
            job.step(Step.SEND)
            job.saved_state = JobState.SUBMITTING
            job.attempts, job.intent_at = intent[1], seconds(intent[2])
        return job
