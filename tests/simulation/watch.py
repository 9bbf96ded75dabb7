"""Looks over the engine's shoulder while it runs: at what it tells the ledger, and at what leaves for the service."""

from __future__ import annotations

import math
from collections import Counter, deque
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, ParamSpec

from orchestrator.domain.remote import RemoteState
from orchestrator.domain.states import JobState
from orchestrator.runner.settler import ADOPT_MARGIN_S
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from tests.simulation.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Clock
    from orchestrator.domain.run import Run
    from orchestrator.domain.spec import JobKey, JobSpec
    from orchestrator.runner.settings import RunnerSettings
    from orchestrator.testing.service import FakeService

COMMIT_S = 0.2
"""Longest pause before a change of the ledger takes effect, and again before it is acknowledged."""
SLACK_S = 2 * COMMIT_S + 0.05
"""Longest time from the choice of a job to its departure."""

_P = ParamSpec("_P")
_S = JobState
_REMOTE_ENDS = {_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.UNFINISHED, _S.PLANNED}
_MAY_FOLLOW: dict[JobState, set[JobState]] = {
    _S.PLANNED: {_S.SUBMITTING, _S.CANCELLED},
    _S.SUBMITTING: {_S.SUBMITTED, _S.PLANNED, _S.REJECTED, _S.IN_DOUBT},
    _S.IN_DOUBT: {_S.SUBMITTED, _S.PLANNED, _S.FAILED},
    _S.SUBMITTED: {_S.RUNNING, _S.IN_DOUBT} | _REMOTE_ENDS,
    _S.RUNNING: {_S.SUBMITTED} | _REMOTE_ENDS,
}
"""From one record of a job to the next; written from the design's text, not from the table in ``states``."""


class BrokenError(BaseException):
    """What must hold at every moment does not. The engine takes any other exception for an accident that it must survive."""


def _unmistakable(check: Callable[_P, None]) -> Callable[_P, None]:
    """Let a failed assertion pass through the engine unheard."""

    @wraps(check)
    def checked(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            check(*args, **kwargs)
        except AssertionError as error:
            raise BrokenError(*error.args) from error

    return checked


class Watch:
    """What must hold at every moment of one visit.

    Args:
        store: The ledger's content.
        service: The service.
        clock: The engine's clock.
        settings: The engine's bounds.
        rate_per_s: Ceiling of POSTs.
        allowed: Keys that the manifest names.
        has_steady_clock: The engine's wall clock does not jump.
    """

    def __init__(
        self,
        store: MemoryStore,
        service: FakeService,
        clock: Clock,
        settings: RunnerSettings,
        *,
        rate_per_s: float,
        allowed: Collection[JobKey],
        has_steady_clock: bool,
    ) -> None:
        self._store = store
        self._service = service
        self._clock = clock
        self._settings = settings
        self._allowed = allowed
        self._has_steady_clock = has_steady_clock
        self._turns = Turns(settings.age_after, max(1, int(rate_per_s / 10)), SLACK_S)
        self._most = {
            "submit": math.ceil(rate_per_s),
            "query": 20,
            "list": 22,
        }  # of lists, the probes are not limited but rare
        self._left: dict[str, deque[float]] = {
            kind: deque(maxlen=most + 1) for kind, most in self._most.items()
        }
        self._at_once = {
            "submit": settings.connections,
            "query": settings.queries,
            "head": settings.heads,
        }
        self._open: dict[str, int] = {}
        self.stopped_at: float | None = None
        self.max_failures = math.inf
        """So many jobs may fail, and one more stops the sending."""
        self.failed_at: list[float] = []
        """When jobs failed, or were rejected."""
        self.named: set[JobKey] = set()
        """Keys that the feed has named so far, in this visit, and that the engine knows to be in the ledger."""
        self.reached: Counter[JobKey] = Counter()
        """POSTs that may have reached the service, by key."""
        self.sent: set[JobKey] = set()
        """Keys that were sent in this visit."""

    # --- the ledger

    def added(self, jobs: Sequence[Job]) -> None:
        """The manifest's next jobs are in the ledger."""
        self.named.update(job.spec.key for job in jobs)
        for job in jobs:
            self._note(self._store.jobs[job.spec.key])

    @_unmistakable
    def saving(self, jobs: Sequence[Job]) -> None:
        """The engine asks the ledger to record these jobs."""
        for job in jobs:
            known = job.saved_state
            assert job.state in _MAY_FOLLOW.get(known, ()), (
                f"{job.spec.key}: {known} -> {job.state}"
            )
            if job.state is JobState.SUBMITTING:
                self._turns.choose(job.spec.key)
            if job.state is JobState.SUBMITTED and known is not JobState.RUNNING:
                made = self._service.jobs[job.job_id]
                assert made.spec.key == job.spec.key, (
                    f"{job.spec.key} took the job of {made.spec.key}"
                )
                assert job.job_id not in job.past_job_ids

    def saved(self, jobs: Sequence[Job]) -> None:
        """They are recorded."""
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
        """How long it must not go yet, at least and at most.

        Delays are told by the wall clock, and are no longer than the cap; if that clock jumps, they may be so each time it is read.
        """
        cap_s = self._settings.cap_s
        delay_s = max(job.not_before - self._clock.now(), 0.0)
        if not job.not_before or (self._has_steady_clock and delay_s <= cap_s):
            return delay_s, delay_s
        return 0.0, 3 * cap_s  # also where an earlier visit's clock told it

    # --- the wire

    @_unmistakable
    def choose(self, spec: JobSpec) -> None:
        """The engine hands a job to the client: it must be planned, recorded, asked for, and the best one."""
        key = spec.key
        record = self._store.jobs[key]
        assert record.state is JobState.SUBMITTING, (
            f"{key} is sent while the ledger says {record.state}"
        )
        assert record.attempts >= 1
        assert record.intent_at is not None
        assert key in self._allowed, f"{key} has left the manifest"
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
        self._turns.send(spec, now)
        self.sent.add(key)

    @_unmistakable
    def enter(self, spec: JobSpec) -> None:
        """The service takes a request: should its answer be lost, the job will be looked for around the time of its intent."""
        error_s = abs((self._store.jobs[spec.key].intent_at or 0.0) - self._service.clock.now())
        assert error_s <= ADOPT_MARGIN_S, (
            f"the intent of {spec.key} is dated wrong by {error_s:.0f} s"
        )

    @_unmistakable
    def depart(self, kind: str) -> None:
        """A request leaves: no more than the limit of its kind in any second."""
        if kind in self._left:
            log, now = self._left[kind], self._clock.monotonic()
            log.append(now)
            assert len(log) <= self._most[kind] or now - log[0] >= 1.0, (
                f"more than {self._most[kind]} calls ({kind}) in a second"
            )

    @contextmanager
    def on_the_wire(self, kind: str) -> Iterator[None]:
        """A request is under way: no more at once than there may be, and never more jobs at the service."""
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
        assert self._service.most_at_once <= self._settings.in_flight, "in_flight was passed"


class WatchedLedger(MemoryLedger):
    """A ledger that somebody watches."""

    def __init__(
        self, store: MemoryStore, watch: Watch, pause: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(store, pause=pause)
        self._watch = watch

    async def add(
        self, run: Run, specs: Sequence[JobSpec], retry: Collection[JobState] = ()
    ) -> list[Job]:
        """As the ledger's own."""
        jobs = await super().add(run, specs, retry)
        self._watch.added(jobs)
        return jobs

    async def save(self, jobs: Sequence[Job]) -> None:
        """As the ledger's own."""
        self._watch.saving(jobs)
        await super().save(jobs)
        self._watch.saved(jobs)

    async def intend(self, jobs: Sequence[Job]) -> None:
        """As the ledger's own."""
        self._watch.saving(jobs)
        await super().intend(jobs)
        self._watch.saved(jobs)
