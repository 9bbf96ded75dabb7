"""Jobs that are about to be sent, in one small row of all of them instead of the large row of each.

An intent must be on the disk before its request leaves, and is of no use once the answer is recorded, mostly milliseconds later. Here it
costs a few bytes, and the job's own row is written once, with the answer, instead of twice. Until then that row says ``planned``, and what
stands here counts: whoever reads jobs looks here too.

The one row has a version, which grows with each holder of the lease. A process that still believes to hold it, after another took it over,
is told so before it sends anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import bindparam, func, literal_column, select, update

from orchestrator.domain.states import JobState, Step
from orchestrator.errors import LedgerError, LedgerLocked, LedgerMismatch
from orchestrator.ledger.job_rows import seconds
from orchestrator.ledger.statements import Bulk, Prepared, rows_of
from orchestrator.ledger.tables import intents, is_planned, jobs

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Connection

    from orchestrator.domain.job import Job
    from orchestrator.ledger.statements import Statement

Intent = tuple[int, int, int]
"""That a job is about to be sent: its id, its attempts with this one, and the instant in microseconds."""

_MOST = 512
"""With more than these all of their rows are written after all: the one row is written with every group, and must stay small."""


class Intents:
    """The intents that the rows of their jobs do not show."""

    def __init__(self) -> None:
        self._open: dict[int, Intent] | None = None  # by id of the job; None: to be read
        self._version = 0  # 0: we do not hold the lease, and somebody else may be writing
        self._new: set[int] = (
            set()
        )  # ids of those whose rows are as new, but for what changes when a job is sent
        self._added: list[int] = []  # ids that came with this group
        self._is_changed = False
        self._open_before: dict[int, Intent] | None = None
        self._version_before = 0

    # --- a group of work

    def begin(self) -> None:
        """A group begins."""
        if not self._version:
            self._open = None  # somebody else may have written meanwhile
        self._version_before = self._version

    def finish(self, conn: Connection) -> None:
        """Write what has changed; comes before the commit.

        Raises:
            LedgerLocked: Another process took the lease.
            LedgerMismatch: A job that was added is not planned.
        """
        if self._is_changed:
            if len(self.of(conn)) > _MOST:
                self.settle(conn)
            self._write(conn)

    def done(self) -> None:
        """The group is committed."""
        self._added, self._is_changed, self._open_before = [], False, None

    def undo(self) -> None:
        """The group is rolled back."""
        if self._is_changed:
            self._open = self._open_before
        self._version = self._version_before
        self.done()

    def _write(self, conn: Connection) -> None:
        now, added = (
            orjson.dumps(what).decode() for what in (list(self.of(conn).values()), self._added)
        )
        if (
            _WRITE.run(
                conn, intents=now, holder=self._version, added=added, number=len(self._added)
            ).rowcount
            != 1
        ):
            raise self._refusal(conn)
        self._added = []

    def _refusal(self, conn: Connection) -> LedgerError:
        if (lost := self.lost_lease(conn)) is not None:
            return lost
        keys = (
            conn.execute(select(jobs.c.key).where(jobs.c.id.in_(self._added), ~is_planned))
            .scalars()
            .all()
        )
        return LedgerMismatch(
            f"Jobs that should be planned in the ledger are not, or are not in it: {', '.join(keys) or self._added}. Another program "
            "changed the ledger, or this is a defect of orchestrator. Nothing was written; run again to go on from the ledger."
        )

    def _to_change(self, conn: Connection) -> dict[int, Intent]:
        known = self.of(conn)
        if not self._is_changed:
            self._is_changed, self._open_before = True, dict(known)
        return known

    # --- who holds the lease

    def take_over(self, conn: Connection) -> None:
        """Write what an earlier holder left here into the rows, and keep him from writing here any more."""
        self._open = None
        self._version = conn.execute(select(intents.c.version)).scalar_one() + 1
        conn.execute(update(intents).values(version=self._version))
        self.settle(conn)

    def lost_lease(self, conn: Connection) -> LedgerLocked | None:
        """What is to be told if another process took over what this one had taken over."""
        if (
            not self._version
            or conn.execute(select(intents.c.version)).scalar_one() == self._version
        ):
            return None
        return LedgerLocked(
            "The lease of the ledger was lost: another run took it. `orchestrator status` shows how far that is."
        )

    def add(self, conn: Connection, intents: Sequence[Intent], new: Collection[int]) -> None:
        """Take the intents of planned jobs; of those with ids in ``new`` nothing else is recorded yet but that they are planned.

        Whether they are planned is seen when this is written.

        Raises:
            LedgerMismatch: A job is about to be sent already.
        """
        if not self._version:
            raise LedgerError("The ledger must be acquired before a job is sent.")
        known = self._to_change(conn)
        self._new.difference_update([intent[0] for intent in intents])
        self._new.update(new)
        for intent in intents:
            if intent[0] in known:
                raise LedgerMismatch(
                    f"Job {intent[0]} (id) is about to be sent already. This is a defect of orchestrator."
                )
            known[intent[0]] = intent
            self._added.append(intent[0])

    def drop(self, conn: Connection, job_id: int) -> bool:
        """Forget a job, for its row is being written; says whether it was here, and its row so far that of a planned job."""
        return job_id in self.of(conn) and self._to_change(conn).pop(job_id) is not None

    def was_new(self, job_id: int) -> bool:
        """Whether the row of a job that was here is as new, but for what changes when a job is sent; is true once."""
        was_new = job_id in self._new
        self._new.discard(job_id)
        return was_new

    def settle(self, conn: Connection) -> None:
        """Write all that stands here into the rows."""
        if not self.of(conn):
            return
        if self._added:
            self._write(conn)
        known = self._to_change(conn)
        _SUBMIT.write(conn, list(known.values()))
        known.clear()
        self._new.clear()

    # --- who reads

    def of(self, conn: Connection) -> dict[int, Intent]:
        """What stands here, by id of the job."""
        if self._open is None:
            text = conn.execute(select(intents.c.jobs)).scalar_one()
            self._open = {intent[0]: tuple(intent) for intent in orjson.loads(text or "[]")}
        return self._open

    def shown(self, conn: Connection, job: Job) -> Job:
        """The job as it is, made of the job as its row has it."""
        if (intent := self.of(conn).get(job.id)) is not None:
            job.step(Step.SEND)
            job.saved_state = job.state
            job.attempts, job.intent_at = intent[1], seconds(intent[2])
        return job


def _submit(row: tuple[Any, ...]) -> Statement:
    given = rows_of(("id", "attempts", "intent_at"), row)
    changes = {
        "state": literal_column(f"'{JobState.SUBMITTING}'"),
        "attempts": given.c.attempts,
        "intent_at": given.c.intent_at,
    }
    return update(jobs).values(changes).where(jobs.c.id == given.c.id, is_planned)


def _write() -> Statement:
    ids = select(func.json_each(bindparam("added")).table_valued("value").c.value)
    # Not as an index has it: that of all planned jobs may hold a million, and they are to be found by their ids.
    is_state_planned = jobs.c.state.concat(literal_column("''")) == literal_column(
        f"'{JobState.PLANNED}'"
    )
    are_planned = select(func.count()).where(jobs.c.id.in_(ids), is_state_planned).scalar_subquery()
    mine = update(intents).where(
        intents.c.version == bindparam("holder"), are_planned == bindparam("number")
    )
    return mine.values(jobs=bindparam("intents"))


_SUBMIT = Bulk(_submit, 3)
_WRITE = Prepared(_write())
