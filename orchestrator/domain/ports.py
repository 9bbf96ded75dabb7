"""The seams: each thing that touches the world, as the smallest interface that the stages need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.job import Job
    from orchestrator.domain.remote import (
        JobFilter,
        JobPage,
        ObjectHead,
        ObjectPage,
        QueryReply,
        SubmitReply,
    )
    from orchestrator.domain.run import Counts, Holder, Run
    from orchestrator.domain.spec import JobKey, JobSpec, Place
    from orchestrator.domain.states import JobState


class Clock(Protocol):
    """Time. Tests put a virtual one in its place."""

    def now(self) -> float:
        """Wall time, seconds since the epoch; may step."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go back."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Let ``delay_s`` seconds pass."""
        ...


class Limiter(Protocol):
    """How fast requests of one kind may leave. Only one task waits on it (tasks that queue here lose their priority)."""

    async def acquire(self) -> None:
        """Wait until one more request may leave."""
        ...

    def try_acquire(self) -> bool:
        """Take a permit if one is free right now."""
        ...

    def throttled(self, retry_after_s: float | None = None) -> None:
        """The service asked to slow down, and, if it said so, for how long to be silent."""
        ...

    def accepted(self) -> None:
        """The service took a request: the rate may recover."""
        ...

    @property
    def rate_per_s(self) -> float:
        """The rate in force."""
        ...

    def snapshot(self) -> bytes:
        """What was learned, to be given to :meth:`restore` by a later run."""
        ...

    def restore(self, raw: bytes | None) -> None:
        """Go on from a snapshot; None, or one that says nothing any more, changes nothing."""
        ...


class JobService(Protocol):
    """The asynchronous job API of one account.

    Errors (all of :mod:`orchestrator.errors`): ``ConnectFailed`` - nothing was sent; ``SendInDoubt`` / ``ReplyTimeout`` - no answer that
    could be understood; ``Throttled`` / ``QueueUnavailable``; ``ServerFault``; ``ClockSkewed``; ``CredentialsExpired``;
    ``AuthRejected``; ``NotFound`` / ``Rejected``; ``ProtocolError`` - an answer that makes no sense.
    No method repeats a request by itself.
    """

    async def submit(self, spec: JobSpec) -> SubmitReply:
        """Send one ``POST /jobs``. An unclear outcome is ``SendInDoubt`` or ``ServerFault``, never a second POST."""
        ...

    async def query(self, place: Place, job_ids: Sequence[str]) -> QueryReply:
        """Ask for up to ten jobs of one bucket."""
        ...

    async def list_jobs(self, place: Place, wanted: JobFilter, next_token: str = "") -> JobPage:
        """One page of the jobs of one bucket."""
        ...

    async def cancel(self, place: Place, job_id: str) -> None:
        """Cancel a job that has not started. ``Rejected`` if it cannot be cancelled any more."""
        ...


class ObjectStore(Protocol):
    """The object storage next to the jobs. Errors as for :class:`JobService`; reads may be repeated by the caller."""

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """What is known of an object, or None if there is none."""
        ...

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        """One page of the objects whose keys begin with ``prefix`` and come after ``marker``."""
        ...

    async def get(self, place: Place, key: str) -> AsyncIterator[bytes]:
        """The content of an object, in pieces. ``NotFound`` if there is none."""
        ...

    async def put(
        self, place: Place, key: str, content: bytes, content_type: str = "application/octet-stream"
    ) -> ObjectHead:
        """Store an object, whole; an existing one is replaced."""
        ...


class Ledger(Protocol):
    """Durable state of the jobs of one manifest. What a method did is committed and synced when it returns.

    Errors: ``LedgerLocked``, ``LedgerCorrupt``, ``LedgerFull``, ``LedgerMismatch``, ``LedgerError``.
    One run at a time works on a ledger; any number of processes may read it meanwhile.
    """

    async def acquire(self, holder: Holder) -> None:
        """Take the lease, also from a dead holder. ``LedgerLocked`` names the live one."""
        ...

    async def heartbeat(self, now: float) -> None:
        """Show that the holder lives. ``LedgerLocked`` if the lease was lost."""
        ...

    async def holder(self) -> Holder | None:
        """Who works on the ledger now, or None; for those who only read it."""
        ...

    async def close(self) -> None:
        """Give the lease back, if held, and close."""
        ...

    async def begin_run(self, name: str, now: float, report: str) -> Run:
        """Continue the open run, or begin a new one.

        A new run's id is ``<name>-<UTC time as YYYYmmddTHHMMSSZ>``, with ``-2``, ``-3`` ... behind it if that id is taken. ``{run}`` in
        ``report`` is replaced by the id. An open run keeps its own id and report path. Either way ``visit`` is counted up.
        """
        ...

    async def end_run(self, run: Run, now: float) -> None:
        """Close the run: none of its jobs is open any more. ``LedgerMismatch`` if one is."""
        ...

    async def last_run(self) -> Run | None:
        """The open run (then ``resumed``), else the one that ended last, or None; begins nothing, for those who only read."""
        ...

    async def add(
        self, run: Run, specs: Sequence[JobSpec], retry: Collection[JobState] = ()
    ) -> list[Job]:
        """Make these specs part of the run, in this order; gives their jobs, in this order.

        New keys become ``planned`` jobs. Known keys become part of this run as they are: open ones go on; a succeeded one that
        this run has not touched gets its row (``skipped``); one that ended otherwise (failed, rejected, cancelled, unfinished) in
        an earlier run gets its row again, unless its state is in ``retry``: then it is planned anew (its remote id moves to
        ``past_job_ids``, its attempts start at 0). An unfinished one in ``retry`` that has a remote id is looked at again instead
        (``submitted``). ``retry`` may hold ``succeeded`` too, for specs whose stems were found missing: they are paid for again.
        A known key takes level, callback, queue, group, user data and origin from the new spec while it is still planned.
        A key that this visit has seen already is returned as it is.
        """
        ...

    async def ready(
        self, run: Run, level: int, share: str, limit: int, without: Collection[int], now: float
    ) -> list[Job]:
        """Up to ``limit`` planned jobs of one level and share that this visit has seen and whose ``not_before`` has come, by ``seq``.

        ``share`` is ``JobSpec.share``. ``without`` are ids that the caller holds already.
        """
        ...

    async def next_ready_at(self, run: Run, without: Collection[int]) -> float | None:
        """The earliest ``not_before`` of the planned jobs that this visit has seen, or None if there is none."""
        ...

    async def in_states(
        self, states: Collection[JobState], after_id: int = 0, limit: int = 1000
    ) -> list[Job]:
        """Jobs in any of ``states``, by id, beyond ``after_id``: how a run finds what was going on when the last one stopped."""
        ...

    async def drop_unseen(self, run: Run, now: float) -> int:
        """Cancel the planned jobs that this visit has not seen (they left the manifest), each with its row; says how many."""
        ...

    async def save(self, jobs: Sequence[Job]) -> None:
        """Record these jobs as they are now (their fields are read before the first await).

        A job in a terminal state that has no row in this run gets the next one. ``LedgerMismatch`` if the stored state is not
        ``saved_state``. Many calls share one sync.
        """
        ...

    async def intend(self, jobs: Sequence[Job]) -> None:
        """Record that these planned jobs are about to be sent: that they are ``submitting``, with ``attempts`` and ``intent_at``.

        Nothing else of them may have changed since they were saved, and none is saved before this has returned. ``LedgerMismatch`` if the
        stored state of one is not planned; then nothing is recorded. ``LedgerLocked`` if another process took the lease. Many calls share
        one sync.
        """
        ...

    async def rows(self, run: Run, after_row: int = 0, limit: int = 1000) -> list[Job]:
        """The jobs that have a row in the run's report, in the order of rows, beyond ``after_row``."""
        ...

    async def counts(self, run: Run) -> Counts:
        """Jobs of the run by state."""
        ...

    async def find(self, keys: Sequence[JobKey]) -> dict[JobKey, Job]:
        """The jobs with these keys."""
        ...

    async def same_object(self, specs: Sequence[JobSpec]) -> set[JobKey]:
        """Of these specs, the keys whose media object (bucket, region, key) has a job under another key."""
        ...

    async def remember(self, name: str, value: bytes) -> None:
        """Keep a small thing between runs (a learned rate, for example)."""
        ...

    async def recall(self, name: str) -> bytes | None:
        """What was remembered under ``name``."""
        ...


class EventSink(Protocol):
    """Wants to know what happens. A sink that raises is cut off; it never hurts the run."""

    def emit(self, event: Event) -> None:
        """Take one event; must not block."""
        ...
