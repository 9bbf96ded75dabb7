"""Track accepted jobs to their end with batched queries.

``poll_policy`` decides when and which, ``judge`` what an answer means for a job.

Only ``GET /jobs/<ids>`` is believed; a callback is a hint to ask sooner. A query carries up to ten
ids, so a query for one job takes along the others that are due soon. What an answer says about one
job concerns that job alone: a refused or unreadable query is split until it is known whose fault it
is, and an answer that names another job's key puts both in doubt.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import TYPE_CHECKING

from orchestrator.domain.events import Noticed
from orchestrator.domain.remote import QueryReply, RemoteJob, RemoteState
from orchestrator.domain.states import REMOTE, JobState
from orchestrator.domain.wording import counted
from orchestrator.errors import (
    BucketRefused,
    NotFound,
    OrchestratorError,
    ProtocolError,
    Rejected,
    Throttled,
)
from orchestrator.reporting.row import instant
from orchestrator.runner.retry import backoff_s
from orchestrator.runner.tracking.judge import Judge, doubt
from orchestrator.runner.tracking.poll_policy import POLL_MIN_S, PollPolicy, Round
from orchestrator.runner.tracking.tracked_jobs import Answer, Tracked, TrackedJobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.job import Job
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.routing import Routing
    from orchestrator.runner.shutdown import Shutdown

_REPORT_AFTER = 3
"""Failed queries in a row that are reported; one or two are nothing unusual."""
_SILENT_S = 4.0
"""Longest wait after a query that failed: jobs may have ended when the service is reached again."""
_MAX_EARLY_HINTS = 1000
"""The latest hints are kept: older ones are about jobs that have ended, or that are not ours."""


class Tracker:
    """Polls jobs at the service until they end.

    Args:
        ports: The ports.
        routing: Where jobs go.
        shutdown: Stops the run at an error that waiting cannot cure.
    """

    def __init__(self, ports: Ports, routing: Routing, shutdown: Shutdown) -> None:
        self._service = ports.service
        self._limiter = ports.query_limiter
        self._clock = ports.clock
        self._settings = ports.settings
        self._rng = ports.rng
        self._sink = ports.sink
        self._routing = routing
        self._shutdown = shutdown
        self._policy = PollPolicy(
            has_callbacks=ports.settings.has_callbacks, soon_s=ports.settings.soon_s
        )
        self._judge = Judge(ports, self._policy)
        self._by_job_id: dict[str, Tracked] = {}
        self._tracked = TrackedJobs()  # the same jobs, in the order in which the policy reads them
        self._early_hints: dict[str, float] = {}
        self._disowned: list[Job] = []
        self._in_record: set[int] = set()  # jobs whose record is on its way to the ledger
        self._answered_at = -math.inf
        self._failures = 0
        self._trouble = ""  # reason of the last failed query
        self._silent_until = 0.0
        self._wake = asyncio.Event()
        self.queries = 0
        """Query calls made."""

    def put(self, job: Job, *, at_once: bool = False) -> None:
        """Track a job; ``at_once`` if it may have ended long ago (resumed or adopted)."""
        now = self._clock.monotonic()
        early = self._early_hints.pop(job.job_id, None)
        looked_at = -math.inf if at_once else now
        if (before := self._by_job_id.get(job.job_id)) is not None:
            self._drop(before, job.job_id)
            if before.job is not job:
                self._disown(before.job, job)
                return
        tracked = Tracked(job, now, looked_at, hinted_at=early, is_from_before=at_once)
        self._by_job_id[job.job_id] = tracked
        self._tracked.add(tracked)
        # A job that was accepted just now has not ended; the next query takes it along. A
        # decision for each one would cost far more than sending it.
        if at_once or early is not None or len(self._by_job_id) == 1:
            self._wake.set()

    @property
    def tracked(self) -> int:
        """Number of jobs at the service."""
        return len(self._by_job_id)

    def waits_for(self) -> list[str]:
        """Return what keeps the jobs at the service, in words."""
        if not self._by_job_id:
            return []
        jobs = [tracked.job for tracked in self._by_job_id.values()]
        running = sum(job.state is JobState.RUNNING for job in jobs)
        oldest = min((job.submitted_at or math.inf for job in jobs), default=math.inf)
        since = f", the oldest since {instant(oldest)}" if oldest < math.inf else ""
        parts = [f"{counted(running, 'job')} running at the service"] if running else []
        if len(jobs) > running:
            queue = "paused queue" if self._judge.is_paused else "queue"
            parts.append(f"{counted(len(jobs) - running, 'job')} in the service's {queue}")
        parts[-1] += since
        if self._failures:
            parts.append(f"an answer to its queries (the last one failed: {self._trouble})")
        return parts

    def hint(self, job_id: str) -> None:
        """Query this job soon: a callback says that it has ended.

        The hint may come before the answer to the submit.
        """
        now = self._clock.monotonic()
        tracked = self._by_job_id.get(job_id)
        if tracked is not None:
            if tracked.hinted_at is None:
                self._tracked.hint(tracked, now)
            self._wake.set()
        else:
            self._early_hints[job_id] = now
            if len(self._early_hints) > _MAX_EARLY_HINTS:
                self._early_hints.pop(next(iter(self._early_hints)))

    def follow_instead(self, job: Job, remote: RemoteJob | None) -> None:
        """Follow ``remote`` if the present attempt of ``job`` has failed or was cancelled."""
        self._judge.follow_instead(job, remote)
        if remote is not None and (tracked := self._by_job_id.get(job.job_id)) is not None:
            tracked.hinted_at = self._clock.monotonic()
            self._tracked.refile(tracked)
            self._wake.set()

    async def run(self) -> None:
        """Poll until cancelled; queries run side by side, up to the bound."""
        slots = asyncio.Semaphore(self._settings.queries)
        async with asyncio.TaskGroup() as queries:
            while True:
                await self._until_worth_asking()
                await slots.acquire()
                await self._limiter.acquire()
                batch = self._decide().batch
                if not batch:
                    slots.release()
                    continue
                self._policy.asked(batch, self._clock.monotonic())
                for tracked in batch:
                    tracked.is_asked = True
                task = queries.create_task(self._query_all(batch))
                task.add_done_callback(lambda _: slots.release())

    def _decide(self) -> Round:
        return self._policy.decide(self._tracked, self._clock.monotonic())

    async def _until_worth_asking(self) -> None:
        while True:
            self._wake.clear()
            await self._pass_on_disowned()
            silent_s = self._silent_until - self._clock.monotonic()
            found = Round(again_in_s=silent_s) if silent_s > 0 else self._decide()
            if found.batch:
                return
            again_in_s = found.again_in_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if again_in_s is None else max(again_in_s, 0.001)):
                    await self._wake.wait()

    async def _query_all(self, batch: Sequence[Tracked]) -> None:
        together = [tracked for tracked in batch if not tracked.refusals]
        alone = [[tracked] for tracked in batch if tracked.refusals]
        try:
            for part in [together, *alone]:
                if part and not await self._query(part):
                    self._blame_service(part)
        finally:
            # Only now: two answers about one job would race each other to the ledger.
            for tracked in batch:
                self._release(tracked)
            self._policy.answered(batch)
            self._wake.set()

    def _release(self, tracked: Tracked) -> None:
        """Let a job be queried again: at once, or later if its query was refused."""
        tracked.is_asked = bool(tracked.refusals)
        if tracked.is_asked:
            floor_s = POLL_MIN_S
            delay_s = backoff_s(self._settings, tracked.refusals, self._rng, floor_s)
            asyncio.get_running_loop().call_later(delay_s, self._ask_again, tracked)

    def _ask_again(self, tracked: Tracked) -> None:
        tracked.is_asked = False
        self._wake.set()

    async def _query(self, batch: Sequence[Tracked]) -> bool:
        """Query a batch; return False if it was refused or unreadable for each job alone, too."""
        ids = [tracked.job.job_id for tracked in batch]
        place = batch[0].job.spec.media.place
        self.queries += 1
        asked_at = self._clock.monotonic()
        try:
            reply = await self._service.query(place, ids)
        except (Rejected, ProtocolError) as error:
            return await self._split(batch, error, asked_at)
        except BucketRefused as error:
            self._leave_bucket(batch, error)
        except OrchestratorError as error:
            self._back_off(error)
        else:
            self._failures = 0
            self._answered_at = self._clock.monotonic()
            self._limiter.accepted()
            for tracked in batch:
                tracked.refusals = 0
            await self._take(batch, reply, asked_at)
        return True

    async def _split(
        self, batch: Sequence[Tracked], error: Rejected | ProtocolError, asked_at: float
    ) -> bool:
        """Find out which job makes the service refuse a query, or its answer unreadable."""
        if len(batch) > 1:
            middle = len(batch) // 2
            learned = False
            for half in (batch[:middle], batch[middle:]):
                await self._limiter.acquire()
                learned |= await self._query(half)
            return learned
        (tracked,) = batch
        if isinstance(error, NotFound):
            # Some services answer so when the id does not exist.
            missing = (tracked.job.job_id,)
            await self._take(batch, QueryReply(missing=missing), asked_at)
            return True
        if self._judge.refuse(tracked, error, self._answered_at):
            job = tracked.job
            self._drop(tracked, job.job_id)
            await self._routing.save([job])
            self._routing.route(job)
        else:
            tracked.looked_at, tracked.hinted_at = self._clock.monotonic(), None
            self._tracked.refile(tracked)
        return False

    def _blame_service(self, batch: Sequence[Tracked]) -> None:
        """Ask later if no job of several could be read: the fault is not that of one job."""
        if len(batch) > 1:
            for tracked in batch:
                tracked.refusals = 0
            self._back_off(ProtocolError("no answer to a query can be read"))

    def _leave_bucket(self, batch: Sequence[Tracked], error: BucketRefused) -> None:
        """Let go of the jobs of a bucket whose requests are all refused; the next run resumes."""
        place = batch[0].job.spec.media.place
        self._routing.close_bucket(place, error)
        for tracked in list(self._by_job_id.values()):
            if tracked.job.spec.media.place == place:
                self._drop(tracked, tracked.job.job_id)
                self._routing.leave()

    def _disown(self, *jobs: Job) -> None:
        """Put two jobs in doubt that were answered with one remote id: it belongs to one."""
        for job in jobs:
            doubt(job, f"The service answered {job.job_id} for another job, too.")
        self._disowned += jobs
        self._wake.set()

    async def _pass_on_disowned(self) -> None:
        jobs = [job for job in self._disowned if job.id not in self._in_record]
        self._disowned = [job for job in self._disowned if job.id in self._in_record]
        if jobs:
            await self._routing.save(jobs)
            for job in jobs:
                self._routing.route(job)

    def _back_off(self, error: OrchestratorError) -> None:
        """Ask again later; only an error that waiting cannot cure stops the run."""
        if error.fatal:
            self._shutdown.fatal(error)
        self._failures += 1
        self._trouble = str(error)
        if self._failures == _REPORT_AFTER:
            self._sink.emit(Noticed(f"Queries of jobs get no answer; they are repeated ({error})"))
        if isinstance(error, Throttled):
            self._limiter.throttled(error.retry_after_s)
        delay_s = backoff_s(self._settings, self._failures, self._rng, POLL_MIN_S / 2)
        delay_s = min(delay_s, _SILENT_S)
        self._silent_until = max(self._silent_until, self._clock.monotonic() + delay_s)

    async def _take(self, batch: Sequence[Tracked], reply: QueryReply, asked_at: float) -> None:
        """Apply one answer to its jobs, save those that changed, hand on those that leave."""
        by_id = {remote.job_id: remote for remote in reply.jobs}
        self._note_queue(batch, by_id, asked_at)
        changed: list[Job] = []
        leaving: list[tuple[Job, RemoteJob | None]] = []
        for tracked in batch:
            job = tracked.job
            job_id = job.job_id  # a retried job loses it
            if self._by_job_id.get(job_id) is not tracked:
                continue  # it was put in doubt, or left, while the query was on the wire
            tracked.looked_at = asked_at
            before = job.state
            done = self._judge.judge(tracked, by_id.get(job_id))
            is_other = job.job_id != job_id  # it is followed under another id
            if job.state is not before or is_other:
                changed.append(job)
            if done is not None or job.state not in REMOTE or is_other:
                self._drop(tracked, job_id)
                leaving.append((job, done))
            if tracked.hinted_at is not None and tracked.hinted_at <= asked_at:
                tracked.hinted_at = None
            self._tracked.refile(tracked)
        await self._record(changed)
        if adopted := [job for job, _ in leaving if self._judge.adopt_other(job)]:
            await self._routing.save(adopted)
        for job, answer in leaving:
            if answer is not None:
                self._routing.verify(job, answer)
            else:
                self._routing.route(job)

    async def _record(self, jobs: Sequence[Job]) -> None:
        """Save jobs; one that is disowned meanwhile is saved again afterwards."""
        if not jobs:
            return
        ids = {job.id for job in jobs}
        self._in_record |= ids
        try:
            await self._routing.save(jobs)
        finally:
            self._in_record -= ids
        if self._disowned:
            self._wake.set()

    def _note_queue(
        self, batch: Sequence[Tracked], by_id: dict[str, RemoteJob], asked_at: float
    ) -> None:
        """Note what the answer shows of the service's queue."""
        answer = Answer([], [], [], [])
        for tracked in batch:
            remote = by_id.get(tracked.job.job_id)
            match remote and remote.state:
                case RemoteState.SUBMITTED | RemoteState.PAUSED:
                    answer.waiting.append(tracked)
                case RemoteState.RUNNING:
                    answer.running.append(tracked)
                case RemoteState.SUCCEEDED | RemoteState.FAILED:
                    answer.ended.append(tracked)
                case RemoteState.CANCELLED:
                    pass  # it may or may not have begun
                case _:
                    answer.unclear.append(tracked)
        waits = {by_id[tracked.job.job_id].state for tracked in answer.waiting}
        self._tracked.saw(answer._replace(is_paused=waits == {RemoteState.PAUSED}), asked_at)

    def _drop(self, tracked: Tracked, job_id: str) -> None:
        self._tracked.remove(self._by_job_id.pop(job_id, tracked))
