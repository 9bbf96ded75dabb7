"""A ledger in memory: the same contract as the durable ones, checked by the same tests."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING, Any

from orchestrator.domain.job import LEFT, Job
from orchestrator.domain.run import Counts, Run, Usage
from orchestrator.domain.states import OPEN, TERMINAL, JobState
from orchestrator.errors import LedgerError, LedgerLocked, LedgerMismatch
from orchestrator.ledger.job_rows import to_microsecond
from orchestrator.ledger.lease import locked_message
from orchestrator.ledger.run_rules import (
    NO_RUN,
    admit,
    cannot_end,
    run_id,
    under_other_keys,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from orchestrator.domain.run import Holder
    from orchestrator.domain.spec import JobKey, JobSpec, Place


@dataclass(slots=True)
class MemoryStore:
    """State that outlives a ``MemoryLedger``; pass it to the next one, as a file is reopened.

    Attributes:
        jobs: Jobs by key, as last saved; read only.
        visits: ``Run.visit`` at the time each job was last added, by key.
        runs: Runs by number; the last one is open if ``is_open``.
        is_open: True if the last run is open.
        visit: How often a run was started or resumed.
        memory: Values kept by ``remember``.
        holder: The process that works on the ledger.
        seen_at: Instant of the holder's last heartbeat.
    """

    jobs: dict[JobKey, Job] = field(default_factory=dict)
    visits: dict[JobKey, int] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    is_open: bool = False
    visit: int = 0
    memory: dict[str, bytes] = field(default_factory=dict)
    holder: Holder | None = None
    seen_at: float | None = None
    _owner: object = None

    def lose_holder(self) -> None:
        """End the lease, as the death of the holder's process does."""
        self.holder = self._owner = None

    def take(self, owner: object, holder: Holder) -> bool:
        """Give the lease to ``owner`` unless another holds it."""
        if self._owner not in {None, owner}:
            return False
        self._owner, self.holder = owner, holder
        return True

    def is_held_by(self, owner: object) -> bool:
        """Return True if ``owner`` holds the lease."""
        return self._owner is owner


async def _no_pause() -> None:
    """Do not pause."""


class MemoryLedger:
    """A ledger in memory (``ports.Ledger``).

    Args:
        store: Earlier state; pass it to the next ledger to reopen it.
        pause: Awaited before each change takes effect, and again before it is acknowledged: there a
            test lets other tasks run, or kills the process.
    """

    def __init__(
        self, store: MemoryStore | None = None, *, pause: Callable[[], Awaitable[None]] = _no_pause
    ) -> None:
        self.store = store if store is not None else MemoryStore()
        self._pause = pause
        self._run_no = 0
        self._id = self._seq = self._row = 0
        self._is_closed = False

    def _open(self) -> MemoryStore:
        if self._is_closed:
            raise LedgerError("The ledger is closed.")
        return self.store

    # --- the lease

    async def acquire(self, holder: Holder) -> None:
        """Take the lease. ``LedgerLocked`` names the live holder."""
        store = self._open()
        if not store.take(self, holder):
            raise LedgerLocked(locked_message("in memory", store.holder))

    async def heartbeat(self, now: float) -> None:
        """Show that the holder lives. ``LedgerLocked`` if the lease was lost."""
        if not self._open().is_held_by(self):
            raise LedgerLocked("The lease of the ledger in memory was lost.")
        self.store.seen_at = now

    def may_send(self) -> bool:
        """Return True if no other process can have taken the lease by now."""
        return self.store.is_held_by(self)

    def trouble(self) -> str:
        """Return nothing: memory is never out of reach."""
        return ""

    async def holder(self) -> Holder | None:
        """Return the process that works on the ledger now, or None."""
        return self._open().holder

    async def close(self) -> None:
        """Give the lease back, if held, and close."""
        if self.store.is_held_by(self):
            self.store.lose_holder()
        self._is_closed = True

    # --- runs

    async def begin_run(self, name: str, now: float, report: str) -> Run:
        """Resume the open run, or begin a new one."""
        store = self._open()
        if not store.is_held_by(self):
            raise LedgerError("The ledger in memory must be acquired before a run begins.")
        await self._pause()
        store.visit += 1
        if store.is_open:
            run = replace(store.runs[-1], resumed=True, visit=store.visit)
        else:
            known = run_id(name, now, {run.id for run in store.runs}.__contains__)
            run = Run(
                known,
                len(store.runs) + 1,
                to_microsecond(now),
                report.replace("{run}", known),
                visit=store.visit,
            )
            store.runs.append(run)
            store.is_open = True
        self._run_no, self._seq = run.number, 0
        self._id = max((job.id for job in store.jobs.values()), default=0)
        self._row = max(
            (job.row for job in store.jobs.values() if job.run_no == run.number), default=0
        )
        await self._pause()
        return run

    async def end_run(self, run: Run, now: float) -> None:
        """Close the run. ``LedgerMismatch`` if one of its jobs is open."""
        store = self._open()
        await self._pause()
        for job in store.jobs.values():
            if job.run_no == run.number and job.state in OPEN:
                raise cannot_end(run, job.spec.key, job.state)
        store.is_open = False
        store.runs[-1] = replace(store.runs[-1], closed_at=to_microsecond(now))
        self._run_no = 0
        await self._pause()

    async def last_run(self) -> Run | None:
        """Return the open run, else the one that ended last."""
        return next(iter(await self.runs(1)), None)

    async def runs(self, limit: int) -> list[Run]:
        """Return up to ``limit`` runs, the latest first."""
        store = self._open()
        return [
            replace(run, resumed=run.closed_at is None, visit=store.visit)
            for run in store.runs[: -limit - 1 : -1]
        ]

    # --- jobs

    async def add(
        self, run: Run, specs: Sequence[JobSpec], retry: Collection[JobState] = ()
    ) -> list[Job]:
        """Make these specs part of the run, in this order."""
        self._open()
        await self._pause()
        jobs: dict[JobKey, Job] = {}
        for spec in specs:
            if spec.key not in jobs:
                jobs[spec.key] = self._join(run, spec, retry)
        await self._pause()
        return [jobs[spec.key] for spec in specs]

    def _join(self, run: Run, spec: JobSpec, retry: Collection[JobState]) -> Job:
        store = self.store
        known = store.jobs.get(spec.key)
        if known is not None and store.visits[spec.key] == run.visit:
            return replace(known)
        self._seq += 1
        store.visits[spec.key] = run.visit
        if known is None:
            self._id += 1
            job = Job(self._id, spec, seq=self._seq, run_no=run.number)
        else:
            job = replace(known, seq=self._seq)
            if admit(job, spec, run, retry).gets_row:
                self._give_row(job)
            job.saved_state = job.state
        store.jobs[spec.key] = replace(job)
        return job

    def _give_row(self, job: Job) -> None:
        if not self._run_no:
            raise LedgerError(NO_RUN)
        self._row += 1
        job.run_no, job.row = self._run_no, self._row

    def _waiting(
        self, run: Run, without: Collection[int], closed: Collection[Place]
    ) -> Iterable[Job]:
        store = self._open()
        for key, job in store.jobs.items():
            if (
                job.state is JobState.PLANNED
                and store.visits[key] == run.visit
                and job.id not in without
                and job.spec.media.place not in closed
            ):
                yield job

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
        found = [
            job
            for job in self._waiting(run, without, closed)
            if job.spec.level == level
            and job.spec.share == share
            and job.not_before <= to_microsecond(now)
        ]
        return [replace(job) for job in sorted(found, key=lambda job: job.seq)[:limit]]

    async def next_ready_at(
        self, run: Run, without: Collection[int], closed: Collection[Place] = ()
    ) -> float | None:
        """Return the earliest ``not_before`` of the planned jobs seen by this start of the run."""
        return min((job.not_before for job in self._waiting(run, without, closed)), default=None)

    async def in_states(
        self, states: Collection[JobState], after_id: int = 0, limit: int = 1000
    ) -> list[Job]:
        """Return jobs in any of ``states``, by id, beyond ``after_id``."""
        found = [
            job for job in self._open().jobs.values() if job.state in states and job.id > after_id
        ]
        return [replace(job) for job in sorted(found, key=lambda job: job.id)[:limit]]

    def _unseen(self, run: Run, visits: Collection[int] | None = None) -> list[Job]:
        store = self._open()
        return [
            job
            for key, job in store.jobs.items()
            if job.state is JobState.PLANNED
            and store.visits[key] != run.visit
            and (visits is None or store.visits[key] in visits)
        ]

    async def unseen_visits(self, run: Run) -> list[int]:
        """Return the visits of the planned jobs that this start of the run has not seen."""
        visits = self._open().visits
        return sorted({visits[job.spec.key] for job in self._unseen(run)})

    async def leave_unseen(self, run: Run) -> None:
        """Take the planned jobs that this start of the run has not seen out of it."""
        self._open()
        await self._pause()
        for job in self._unseen(run):
            if job.run_no != run.number or not job.row:
                job.run_no, job.row, job.skipped = 0, 0, False
        await self._pause()

    async def take_unseen(self, run: Run, visits: Collection[int], limit: int = 1000) -> list[Job]:
        """Make planned jobs that this start of the run has not seen part of it."""
        store = self._open()
        await self._pause()

        def place(job: Job) -> tuple[int, int, str, int]:
            return store.visits[job.spec.key], job.spec.level, job.spec.share, job.seq

        taken = sorted(self._unseen(run, visits), key=place)[:limit]
        for job in taken:
            self._seq += 1
            store.visits[job.spec.key], job.seq = run.visit, self._seq
            if job.run_no != run.number:
                job.run_no, job.row = run.number, 0
            job.skipped = False
        await self._pause()
        return [replace(job) for job in taken]

    async def cancel_left(
        self, job_ids: Collection[int], now: float, besides: Collection[int] = ()
    ) -> int:
        """Cancel those of these jobs that are planned, outside any run."""
        store = self._open()
        await self._pause()
        found = [
            job
            for key, job in store.jobs.items()
            if job.id in job_ids
            and job.state is JobState.PLANNED
            and not job.row
            and store.visits[key] not in besides
        ]
        for job in found:
            job.state = job.saved_state = JobState.CANCELLED  # a step of the table: planned, cancel
            job.message, job.finished_at = LEFT, to_microsecond(now)
            job.run_no, job.skipped = 0, False
        await self._pause()
        return len(found)

    async def drop_unseen(self, run: Run, now: float, visits: Collection[int] | None = None) -> int:
        """Cancel the planned jobs that this start of the run has not seen."""
        self._open()
        await self._pause()
        unseen = self._unseen(run, visits)
        for job in unseen:
            job.state = job.saved_state = JobState.CANCELLED  # a step of the table: planned, cancel
            job.message, job.finished_at, job.skipped = LEFT, to_microsecond(now), False
            if not job.row or job.run_no != run.number:
                self._give_row(job)
        await self._pause()
        return len(unseen)

    async def save(self, jobs: Sequence[Job]) -> None:
        """Record these jobs as they are now."""
        store = self._open()
        if not jobs:
            return
        saved = list(jobs)
        kept = [_as_stored(job) for job in saved]
        await self._pause()
        self._check(store, kept)
        for job, record in zip(saved, kept, strict=True):
            if record.state in TERMINAL and (not job.row or job.run_no != self._run_no):
                self._give_row(job)
            old = store.jobs[record.spec.key]
            # The spec and the place in the manifest belong to add.
            store.jobs[record.spec.key] = replace(
                record,
                saved_state=record.state,
                spec=old.spec,
                seq=old.seq,
                run_no=job.run_no,
                row=job.row,
                skipped=job.skipped,
            )
        await self._pause()
        for job, record in zip(saved, kept, strict=True):
            job.saved_state = record.state

    async def intend(self, jobs: Sequence[Job]) -> None:
        """Record that these planned jobs are about to be sent."""
        store = self._open()
        sent = [(job, job.attempts, to_microsecond(job.intent_at)) for job in jobs]
        await self._pause()
        if not store.is_held_by(self):
            raise LedgerLocked("The lease of the ledger in memory was lost, or never held.")
        keys = [job.spec.key for job, _, _ in sent]
        if len(set(keys)) < len(keys) or any(
            key not in store.jobs or store.jobs[key].state is not JobState.PLANNED for key in keys
        ):
            raise LedgerMismatch(
                f"At least one of the jobs {', '.join(keys)} is no longer planned in the ledger."
            )
        for job, attempts, intent_at in sent:
            state = JobState.SUBMITTING
            stored = store.jobs[job.spec.key]
            store.jobs[job.spec.key] = replace(
                stored, state=state, saved_state=state, attempts=attempts, intent_at=intent_at
            )
        await self._pause()
        for job, _, _ in sent:
            job.saved_state = JobState.SUBMITTING

    def _check(self, store: MemoryStore, kept: list[Job]) -> None:
        """Refuse all of a save before any of it takes effect."""
        states: dict[JobKey, JobState] = {}
        for record in kept:
            stored = store.jobs.get(record.spec.key)
            if (
                stored is None
                or stored.id != record.id
                or states.get(record.spec.key, stored.state) != record.saved_state
            ):
                raise LedgerMismatch(
                    f"Job {record.spec.key} should be {record.saved_state} in the ledger, "
                    "but is not."
                )
            if record.state in TERMINAL and not self._run_no:
                raise LedgerError(NO_RUN)
            states[record.spec.key] = record.state

    # --- questions

    async def rows(self, run: Run, after_row: int = 0, limit: int = 1000) -> list[Job]:
        """Return the jobs that have a row in the run's report, in the order of rows."""
        found = [
            job
            for job in self._open().jobs.values()
            if job.run_no == run.number and job.row > after_row
        ]
        return [replace(job) for job in sorted(found, key=lambda job: job.row)[:limit]]

    async def counts(self, run: Run) -> Counts:
        """Return the number of jobs of the run by state."""
        by_state: dict[JobState, int] = {}
        skipped = left = 0
        for job in self._open().jobs.values():
            if job.run_no != run.number:
                left += job.state is JobState.PLANNED and not job.run_no
                continue
            if job.state is JobState.SUCCEEDED and job.skipped:
                skipped += 1
            else:
                by_state[job.state] = by_state.get(job.state, 0) + 1
        return Counts(by_state, skipped, left)

    async def usage(self, run: Run) -> list[Usage]:
        """Return sums over the ended jobs of the run without the skipped ones."""
        groups: dict[tuple[Any, ...], list[Job]] = {}
        for job in self._open().jobs.values():
            is_skipped = job.state is JobState.SUCCEEDED and job.skipped
            if job.run_no == run.number and job.row and not is_skipped:
                spec = job.spec
                _, dot, suffix = spec.media.key.rpartition("/")[2].rpartition(".")
                kind = (
                    spec.level,
                    spec.origin.source,
                    job.state,
                    job.code,
                    len(spec.output.names()),
                    suffix.translate(_LOWER) if dot else "",
                )
                groups.setdefault(kind, []).append(job)
        return [Usage._make((*kind, *_sums(jobs))) for kind, jobs in groups.items()]

    async def find(self, keys: Sequence[JobKey]) -> dict[JobKey, Job]:
        """Return the jobs with these keys."""
        stored = self._open().jobs
        return {key: replace(stored[key]) for key in keys if key in stored}

    async def same_object(self, specs: Sequence[JobSpec]) -> dict[JobKey, list[JobSpec]]:
        """Return the specs whose media object has jobs under other keys, each with those jobs."""
        return under_other_keys(specs, (job.spec for job in self._open().jobs.values()))

    async def remember(self, name: str, value: bytes) -> None:
        """Keep a small value between runs."""
        self._open().memory[name] = value

    async def recall(self, name: str) -> bytes | None:
        """Return the value kept under ``name``, or None."""
        return self._open().memory.get(name)


def _as_stored(job: Job) -> Job:
    """Return a copy with its instants as a durable ledger keeps them."""
    return replace(
        job,
        not_before=to_microsecond(job.not_before),
        intent_at=to_microsecond(job.intent_at),
        submitted_at=to_microsecond(job.submitted_at),
        started_at=to_microsecond(job.started_at),
        finished_at=to_microsecond(job.finished_at),
        media_duration_s=to_microsecond(job.media_duration_s),
    )


_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)


def _sums(jobs: list[Job]) -> tuple[int, float, int, float, int, int]:
    """Return the sums of a ``Usage``."""
    given = [job.spec.media.duration_s for job in jobs]
    known = [
        length if job.media_duration_s is None else job.media_duration_s
        for job, length in zip(jobs, given, strict=True)
    ]
    sizes = [job.spec.media.size_bytes for job in jobs if job.spec.media.duration_s is None]
    return (
        len(jobs),
        round(sum(length for length in known if length is not None), 3),
        known.count(None),
        round(sum(length for length in given if length is not None), 3),
        sum(size for size in sizes if size is not None),
        sizes.count(None),
    )
