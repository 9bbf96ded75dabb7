"""Checks during a run, of every change of the ledger and every request to the service."""

from __future__ import annotations

import math
from collections import deque
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

from orchestrator.domain.events import Waiting
from orchestrator.domain.remote import RemoteState
from orchestrator.domain.states import JobState
from orchestrator.runner.settling.evidence import ADOPT_MARGIN_S
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from tests.simulation.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

    from orchestrator.domain.events import Event
    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Clock
    from orchestrator.domain.run import Run
    from orchestrator.domain.spec import JobKey, JobSpec
    from orchestrator.runner.settings import RunnerSettings
    from orchestrator.testing.service import FakeService

COMMIT_S = 0.2
"""Longest pause before a change of the ledger takes effect, and again before it is acknowledged."""
QUIET_S = 61.0
"""Longest time without a word."""
SLACK_S = 2 * COMMIT_S + 0.05
"""Longest time from the choice of a job to its departure."""

_P = ParamSpec("_P")
_S = JobState
_REMOTE_ENDS = {_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.UNFINISHED, _S.PLANNED}
_MAY_FOLLOW: dict[JobState, set[JobState]] = {
    _S.PLANNED: {_S.SUBMITTING, _S.CANCELLED, _S.SUBMITTED},  # the last if it is adopted
    _S.SUBMITTING: {_S.SUBMITTED, _S.PLANNED, _S.REJECTED, _S.IN_DOUBT},
    _S.IN_DOUBT: {_S.SUBMITTED, _S.PLANNED, _S.FAILED},
    _S.SUBMITTED: {_S.SUBMITTED, _S.RUNNING, _S.IN_DOUBT} | _REMOTE_ENDS,
    _S.RUNNING: {_S.SUBMITTED, _S.IN_DOUBT} | _REMOTE_ENDS,
}
"""Legal changes between two records of a job.

Written from the design's text, not from the table in ``states``.
"""


class BrokenError(BaseException):
    """An invariant is broken; the runner would survive any other exception as an accident."""


def _unmistakable(check: Callable[_P, None]) -> Callable[_P, None]:
    """Raise a failed assertion as an error that the runner does not catch."""

    @wraps(check)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            check(*args, **kwargs)
        except AssertionError as error:
            raise BrokenError(*error.args) from error

    return checked


def is_seen(job: Job) -> bool:
    """Return True if a job succeeded, and its stems were seen in their bucket."""
    return job.state is JobState.SUCCEEDED and all(file.verified for file in job.files)


class CanaryWatch:
    """The invariant of a canary: until it has passed, no more than its jobs are sent.

    Args:
        size: Number of its jobs; 0 for no canary.
        sent: Keys that it may have sent, also in earlier processes; changed here.
        store: The ledger's content.
        named: Keys in the manifest.
    """

    def __init__(
        self, size: int, sent: set[JobKey], store: MemoryStore, named: Collection[JobKey]
    ) -> None:
        self.size = size
        self.sent = sent
        self.is_running = size > 0
        self._store = store
        self._named = named

    def intend(self, keys: Collection[JobKey]) -> None:
        """Check jobs that are about to be sent: if the process dies now, they count as sent."""
        if not keys or not self.is_running:
            return
        jobs = self._store.jobs
        left = {
            sent
            for sent in self.sent
            if jobs[sent].was_dropped
            or (jobs[sent].state is JobState.PLANNED and sent not in self._named)
        }
        self.sent -= left  # proven absent, and no longer wanted: others may take their place
        self.sent.update(keys)
        assert len(self.sent) <= self.size, f"{keys} are sent before the canary {self.sent} passed"

    def passed(self) -> None:
        """Check that the canary has passed.

        A chosen job may have been sent by a ledger that was lost, and be found at the service. The
        run's next start begins a new canary.
        """
        jobs = self._store.jobs
        seen = sum(is_seen(job) and (key in self.sent or job.adopted) for key, job in jobs.items())
        if seen < self.size:
            raise BrokenError(f"the canary has passed with {seen} of {self.size}")
        self.is_running = False
        self.sent.clear()


class Watch:
    """The invariants of one process.

    Args:
        store: The ledger's content.
        service: The service.
        clock: The runner's clock.
        settings: The runner's bounds.
        rate_per_s: Ceiling of POSTs per second.
        allowed: Keys that may be sent; None for all.
        canary: The invariant of the canary.
        has_steady_clock: The runner's wall clock does not jump.
    """

    def __init__(
        self,
        store: MemoryStore,
        service: FakeService,
        clock: Clock,
        settings: RunnerSettings,
        *,
        rate_per_s: float,
        allowed: Collection[JobKey] | None,
        canary: CanaryWatch,
        has_steady_clock: bool,
    ) -> None:
        self._store = store
        self._service = service
        self._clock = clock
        self._settings = settings
        self._allowed = allowed
        self.canary = canary
        self._has_steady_clock = has_steady_clock
        self._turns = Turns(settings.age_after, max(1, int(rate_per_s / 10)), SLACK_S)
        # Lists may pass their limit by two: probes are not limited, but rare.
        self._most = {"submit": math.ceil(rate_per_s), "query": 20, "list": 22}
        self._left: dict[str, deque[float]] = {
            kind: deque(maxlen=most + 1) for kind, most in self._most.items()
        }
        self._at_once = {
            "submit": settings.connections,
            "query": settings.queries,
            "head": settings.heads,
        }
        self._open: dict[str, int] = {}
        self._heard_at = clock.monotonic()
        self.stopped_at: float | None = None
        self.max_failures = math.inf
        """Number of failures after which one more stops the sending."""
        self.failed_at: list[float] = []
        """Instants at which jobs failed or were rejected."""
        self.named: set[JobKey] = set()
        """Keys that this process has read from its feed and added to the ledger."""
        self.counts_depth = True
        """Check ``in_flight``: a ledger that was lost does not know what is at the service."""
        self.checks_turns = True
        """Check whose turn it is: no job of a bucket that is refused has one."""
        self._added: list[JobKey] = []
        self.sent: set[JobKey] = set()
        """Keys that this process has sent."""

    # --- what the run says

    @_unmistakable
    def hear(self, event: Event) -> None:
        """Check that a run that waits says within a minute what it waits for."""
        now = self._clock.monotonic()
        assert now <= self._heard_at + QUIET_S, f"nothing was said for {now - self._heard_at:.0f} s"
        self._heard_at = now
        if isinstance(event, Waiting):
            assert event.reasons != ("the end of this run",), "the run waits for nothing"

    # --- the ledger

    def added(self, jobs: Sequence[Job]) -> None:
        """Note that the ledger has taken the manifest's next jobs."""
        self.named.update(job.spec.key for job in jobs)
        self._added += [job.spec.key for job in jobs]

    def taken_in(self) -> None:
        """Note that the runner may send the jobs that were added last: it has seen the list."""
        added, self._added = self._added, []
        for key in added:
            self._note(self._store.jobs[key])

    @_unmistakable
    def saving(self, jobs: Sequence[Job]) -> None:
        """Check the jobs that the runner is about to record."""
        self.canary.intend([job.spec.key for job in jobs if job.state is JobState.SUBMITTING])
        for job in jobs:
            known = job.saved_state
            assert job.state in _MAY_FOLLOW.get(known, ()), (
                f"{job.spec.key}: {known} -> {job.state}"
            )
            if job.state is JobState.SUBMITTING:
                self._turns.choose(job.spec.key)
                if job.spec.key in self._added:  # it was fetched from the ledger before it came in
                    self._added.remove(job.spec.key)
            if job.state is JobState.SUBMITTED and known is not JobState.RUNNING:
                made = self._service.jobs[job.job_id]
                assert made.spec.key == job.spec.key or self._service.weather.oddities.mix_ups, (
                    f"{job.spec.key} took the job of {made.spec.key}"
                )
                assert job.job_id not in job.past_job_ids

    def saved(self, jobs: Sequence[Job]) -> None:
        """Note the jobs that were recorded."""
        for job in jobs:
            if job.spec.key in self.named:
                self._note(job)

    def _note(self, job: Job) -> None:
        if job.state is JobState.PLANNED:
            soonest_s, latest_s = self._delay_s(job)
            now = self._clock.monotonic()
            self._turns.wait(job.spec, now + soonest_s, now + latest_s)
        elif job.state is not JobState.SUBMITTING:
            self._turns.leave(job.spec.key)

    def _delay_s(self, job: Job) -> tuple[float, float]:
        """Return the shortest and the longest time before the job may be sent.

        Delays follow the wall clock and never exceed the cap; if that clock jumps, a delay may be
        as long as the cap each time the clock is read.
        """
        cap_s = self._settings.cap_s
        delay_s = max(job.not_before - self._clock.now(), 0.0)
        if not job.not_before or (self._has_steady_clock and delay_s <= cap_s):
            return delay_s, delay_s
        return 0.0, 3 * cap_s  # also if the clock of an earlier process set it

    # --- the wire

    @_unmistakable
    def choose(self, spec: JobSpec) -> None:
        """Check a job that goes to the client: recorded, in the manifest, and next in turn."""
        key = spec.key
        record = self._store.jobs[key]
        assert record.state is JobState.SUBMITTING, (
            f"{key} is sent while the ledger says {record.state}"
        )
        assert record.attempts >= 1
        assert record.intent_at is not None
        assert self._allowed is None or key in self._allowed, f"{key} has left the manifest"
        assert self._store.visits[key] == self._store.visit, (
            f"{key} is sent before the manifest names it"
        )
        alive = [
            job.job_id for job in self._service.accepted(key) if job.state is not RemoteState.FAILED
        ]
        assert not alive, f"{key} is sent although {alive} exists"
        now = self._clock.monotonic()
        assert self.stopped_at is None or now <= self.stopped_at + SLACK_S, (
            f"{key} is sent after the run was stopped"
        )
        failed = sum(at + SLACK_S < now for at in self.failed_at)
        assert failed <= self.max_failures, f"{key} is sent after {failed} failures"
        if self.canary.is_running:
            self._turns.leave(key)  # it does not go in turn
        elif self.checks_turns:
            self._turns.send(spec, now)
        self.sent.add(key)

    @_unmistakable
    def enter(self, spec: JobSpec) -> None:
        """Check the date of the intent, around which a job in doubt is looked up."""
        error_s = abs((self._store.jobs[spec.key].intent_at or 0.0) - self._service.clock.now())
        assert error_s <= ADOPT_MARGIN_S, (
            f"the intent of {spec.key} is dated wrong by {error_s:.0f} s"
        )

    @_unmistakable
    def depart(self, kind: str) -> None:
        """Check the limit of requests of this kind per second."""
        if kind in self._left:
            log, now = self._left[kind], self._clock.monotonic()
            log.append(now)
            assert len(log) <= self._most[kind] or now - log[0] >= 1.0, (
                f"more than {self._most[kind]} calls ({kind}) in a second"
            )

    @contextmanager
    def on_the_wire(self, kind: str) -> Iterator[None]:
        """Check the bounds of requests and of jobs at the service while a request is under way."""
        self._open[kind] = self._open.get(kind, 0) + 1
        self._check_bounds(kind)
        try:
            yield
        finally:
            self._open[kind] -= 1

    @_unmistakable
    def _check_bounds(self, kind: str) -> None:
        assert self._open[kind] <= self._at_once.get(kind, math.inf), (
            f"too many calls ({kind}) at once"
        )
        if self.counts_depth:
            assert self._service.most_at_once <= self._settings.in_flight, "in_flight was exceeded"


class WatchedLedger(MemoryLedger):
    """A ledger in memory whose changes a :class:`Watch` checks."""

    def __init__(
        self, store: MemoryStore, watch: Watch, pause: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(store, pause=pause)
        self._watch = watch

    async def add(
        self, run: Run, specs: Sequence[JobSpec], retry: Collection[JobState] = ()
    ) -> list[Job]:
        """See ``ports.Ledger``."""
        jobs = await super().add(run, specs, retry)
        self._watch.added(jobs)
        return jobs

    async def take_unseen(self, run: Run, visits: Collection[int], limit: int = 1000) -> list[Job]:
        """See ``ports.Ledger``."""
        jobs = await super().take_unseen(run, visits, limit)
        self._watch.added(jobs)
        return jobs

    async def save(self, jobs: Sequence[Job]) -> None:
        """See ``ports.Ledger``."""
        self._watch.saving(jobs)
        await super().save(jobs)
        self._watch.saved(jobs)

    async def intend(self, jobs: Sequence[Job]) -> None:
        """See ``ports.Ledger``."""
        self._watch.saving(jobs)
        await super().intend(jobs)
        self._watch.saved(jobs)
