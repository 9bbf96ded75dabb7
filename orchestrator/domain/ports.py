"""The ports: everything that touches the world, each as the smallest interface that is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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
    from orchestrator.domain.run import Counts, Holder, Run, Usage
    from orchestrator.domain.spec import JobKey, JobSpec, Place
    from orchestrator.domain.states import JobState


class Clock(Protocol):
    """Time. Tests use a virtual one."""

    def now(self) -> float:
        """Return the wall time in seconds since the epoch; it may step."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait for ``delay_s`` seconds."""
        ...


class Limiter(Protocol):
    """Rate limit of requests of one kind. Only one task waits on it, to keep priorities."""

    async def acquire(self) -> None:
        """Wait until one more request may leave."""
        ...

    def try_acquire(self) -> bool:
        """Take a permit if one is free now."""
        ...

    def throttled(self, retry_after_s: float | None = None) -> None:
        """Slow down, because the service asked for it; be silent for ``retry_after_s`` if given."""
        ...

    def accepted(self) -> None:
        """Let the rate recover: the service took a request."""
        ...

    @property
    def rate_per_s(self) -> float:
        """Rate in force."""
        ...

    def snapshot(self) -> bytes:
        """Return what was learned, for :meth:`restore` in a later run."""
        ...

    def restore(self, raw: bytes | None) -> None:
        """Continue from a snapshot; None or an unusable one changes nothing."""
        ...


class JobService(Protocol):
    """The asynchronous job API of one account. No method repeats a request by itself.

    Errors, all of :mod:`orchestrator.errors`: ``ConnectFailed`` (nothing was sent), ``SendInDoubt``
    and ``ReplyTimeout`` (no answer that could be understood), ``Throttled``, ``QueueUnavailable``,
    ``ServerFault``, ``ClockSkewed``, ``CredentialsExpired``, ``AuthRejected``, ``NotFound``,
    ``Rejected``, and ``ProtocolError`` (an answer that makes no sense).
    """

    async def submit(self, spec: JobSpec) -> SubmitReply:
        """Send one ``POST /jobs``. An unclear outcome is ``SendInDoubt`` or ``ServerFault``."""
        ...

    async def query(self, place: Place, job_ids: Sequence[str]) -> QueryReply:
        """Query up to ten jobs of one bucket."""
        ...

    async def list_jobs(self, place: Place, wanted: JobFilter, next_token: str = "") -> JobPage:
        """Return one page of the jobs of one bucket."""
        ...

    async def queues(self, place: Place) -> list[str]:
        """Return the ids of the remote queues of one bucket."""
        ...

    async def cancel(self, place: Place, job_id: str) -> None:
        """Cancel a job that has not started; ``Rejected`` if that is no longer possible."""
        ...


class ObjectStore(Protocol):
    """The object storage. Errors as for :class:`JobService`; the caller may repeat reads."""

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """Return the facts of an object, or None if it does not exist."""
        ...

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        """Return one page of the objects whose keys begin with ``prefix`` and follow ``marker``."""
        ...


class Ledger(Protocol):
    """Durable state of the jobs of one manifest. Changes are committed when a method returns.

    Errors: ``LedgerLocked``, ``LedgerCorrupt``, ``LedgerFull``, ``LedgerDisplaced``,
    ``LedgerMismatch`` and ``LedgerError``.
    One run at a time works on a ledger; any number of processes may read it. *Visit* is the time
    for which a process holds the ledger.
    """

    async def acquire(self, holder: Holder) -> None:
        """Take the lease, also from a dead holder; ``LedgerLocked`` names a live one."""
        ...

    async def heartbeat(self, now: float) -> None:
        """Show that the holder is alive; ``LedgerLocked`` if the lease was lost.

        ``LedgerDisplaced``, once, if the ledger is no longer where the next run looks for it.
        """
        ...

    def may_send(self) -> bool:
        """Return True if no other process can have taken the lease by now. Quick.

        Asked right before a request leaves that may cost money: a process that was stopped after
        its intent was recorded may wake up when another has taken over.
        """
        ...

    def trouble(self) -> str:
        """Return why nothing can be recorded now, in words; empty if nothing is known of it."""
        ...

    async def holder(self) -> Holder | None:
        """Return the live holder or None, for readers."""
        ...

    async def close(self) -> None:
        """Return the lease, if held, and close; ``LedgerDisplaced`` as in ``heartbeat``."""
        ...

    async def begin_run(self, name: str, now: float, report: str) -> Run:
        """Resume the open run, or begin a new one; count ``visit`` up.

        The id of a new run is ``<name>-<UTC time as YYYYmmddTHHMMSSZ>``, with ``-2``, ``-3`` ...
        appended if that id is taken. ``{run}`` in ``report`` is replaced by the id. An open run
        keeps its own id and report path.
        """
        ...

    async def end_run(self, run: Run, now: float) -> None:
        """Close the run; ``LedgerMismatch`` if one of its jobs is open."""
        ...

    async def last_run(self) -> Run | None:
        """Return the open run (then ``resumed``), else the last one, or None; for readers."""
        ...

    async def runs(self, limit: int) -> list[Run]:
        """Return up to ``limit`` runs, the latest first; for readers."""
        ...

    async def usage(self, run: Run) -> list[Usage]:
        """Return sums over the jobs of a run that have ended, in no order, without skipped ones."""
        ...

    async def add(
        self, run: Run, specs: Sequence[JobSpec], retry: Collection[JobState] = ()
    ) -> list[Job]:
        """Make these specs part of the run; return their jobs in the same order.

        A new key becomes a ``planned`` job. A known key joins this run as it is:

        * An open job continues. While it is planned it takes level, callback, queue, group,
          user data and origin from the new spec.
        * A succeeded job that this run has not touched gets its row (``skipped``).
        * A job that failed, was rejected, cancelled or unfinished in an earlier run gets its row
          again, unless its state is in ``retry`` or it was cancelled only because the manifest no
          longer named it. Then it is planned again: its remote id moves to
          ``past_job_ids`` and its attempts start at 0. An unfinished one with a remote id is
          queried again instead (``submitted``).
        * ``retry`` may contain ``succeeded``, for specs whose stems are missing. They are paid for
          again.
        * A key that this visit has seen already is returned as it is.
        """
        ...

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
        """Return up to ``limit`` planned jobs of one level and share, by ``seq``.

        Only jobs that this visit has seen and whose ``not_before`` has passed. ``share`` is
        ``JobSpec.share``; ``without`` are ids that the caller holds already. Jobs whose media
        object lies in a ``closed`` place are left out.
        """
        ...

    async def next_ready_at(
        self, run: Run, without: Collection[int], closed: Collection[Place] = ()
    ) -> float | None:
        """Return the earliest ``not_before`` of the planned jobs that this visit has seen.

        ``without`` and ``closed`` are as in ``ready``.
        """
        ...

    async def in_states(
        self, states: Collection[JobState], after_id: int = 0, limit: int = 1000
    ) -> list[Job]:
        """Return jobs in any of ``states`` by id, beyond ``after_id``; used to resume a run."""
        ...

    async def unseen_visits(self, run: Run) -> list[int]:
        """Return the visits that last named the planned jobs that this visit has not seen.

        Such jobs are leftovers once the whole manifest was read.
        """
        ...

    async def leave_unseen(self, run: Run) -> None:
        """Take the planned jobs that this visit has not seen out of the run, as they are.

        They belong to no run then (``Counts.left``), until :meth:`add` names them again. One that
        has its row in this run stays.
        """
        ...

    async def take_unseen(self, run: Run, visits: Collection[int], limit: int = 1000) -> list[Job]:
        """Make up to ``limit`` planned jobs that this visit has not seen part of the run.

        Only jobs that were last named in one of ``visits``. This visit has seen them then. Jobs of
        one visit, level and share keep their order.
        """
        ...

    async def drop_unseen(self, run: Run, now: float, visits: Collection[int] | None = None) -> int:
        """Cancel the planned jobs that this visit has not seen, each with its row; return how many.

        Only jobs that were last named in one of ``visits``, if they are given. :meth:`add` plans
        them again when they are named again (``Job.was_dropped``).
        """
        ...

    async def cancel_left(
        self, job_ids: Collection[int], now: float, besides: Collection[int] = ()
    ) -> int:
        """Cancel those of these jobs that are planned, outside any run; return how many.

        Jobs that were last named in one of the visits ``besides`` are kept. The others get no row.
        :meth:`add` plans them again when they are named again.
        """
        ...

    async def save(self, jobs: Sequence[Job]) -> None:
        """Record these jobs as they are now; their fields are read before the first await.

        A job in a terminal state without a row in this run gets the next one. ``LedgerMismatch`` if
        the stored state is not ``saved_state``. Many calls share one sync.
        """
        ...

    async def intend(self, jobs: Sequence[Job]) -> None:
        """Record that these planned jobs are about to be sent: the durable intent.

        They are recorded as ``submitting``, with ``attempts`` and ``intent_at``. Nothing else of
        them may have changed since they were saved, and none is saved before this returns.
        ``LedgerMismatch`` if the stored state of one is not planned; then nothing is recorded.
        ``LedgerLocked`` if another process took the lease. ``LedgerDisplaced`` if the ledger is no
        longer where the next run looks for it; nothing is recorded then, but other calls still
        succeed, so that the run can end in order. Many calls share one sync.
        """
        ...

    async def rows(self, run: Run, after_row: int = 0, limit: int = 1000) -> list[Job]:
        """Return the jobs with a row in the run's report, in order, beyond ``after_row``."""
        ...

    async def counts(self, run: Run) -> Counts:
        """Return the jobs of the run by state."""
        ...

    async def find(self, keys: Sequence[JobKey]) -> dict[JobKey, Job]:
        """Return the jobs with these keys."""
        ...

    async def same_object(self, specs: Sequence[JobSpec]) -> dict[JobKey, list[JobSpec]]:
        """Return the specs whose media object has jobs under other keys, each with those jobs.

        Bucket, region and object key are compared.
        """
        ...

    async def remember(self, name: str, value: bytes) -> None:
        """Keep a small value between runs, for example a learned rate."""
        ...

    async def recall(self, name: str) -> bytes | None:
        """Return the value kept under ``name``."""
        ...


class EventSink(Protocol):
    """Receives events. A sink that raises is removed; it cannot break the run."""

    def emit(self, event: Event) -> None:
        """Take one event; must not block."""
        ...
