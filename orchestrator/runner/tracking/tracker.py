"""Track accepted jobs to their end with batched queries; ``poll_policy`` decides when and which.

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

from orchestrator.domain.events import JobMoved, JobRetried, Noticed
from orchestrator.domain.job import LOST_BY_SERVICE, STEM_MISSING
from orchestrator.domain.remote import QueryReply, RemoteJob, RemoteState
from orchestrator.domain.spec import is_key_of_another, key_of_user_data
from orchestrator.domain.states import REMOTE, JobState, Step
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
from orchestrator.runner.retry import backoff_s, decide
from orchestrator.runner.tracking.poll_policy import POLL_MIN_S, PollPolicy, Round
from orchestrator.runner.tracking.tracked_jobs import Answer, Tracked, TrackedJobs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.job import Job
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.routing import Routing
    from orchestrator.runner.shutdown import Shutdown

_LOST_AFTER = 4
"""Queries in a row that must miss an accepted job before it counts as lost ..."""
_LOST_AFTER_S = 60.0
"""... and how long they must have missed it."""
_REFUSED_FOR_S = 600.0
"""Time for which the service must refuse to say how a job stands before it is given up."""
_REPORT_AFTER = 3
"""Failed queries in a row that are reported; one or two are nothing unusual."""
_STALL_S = 86400.0
"""Time that a job may stay submitted or running before it is reported as unfinished. A day, because
a paused queue or a long backlog is not a fault."""
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
        self._is_transient = ports.is_transient
        self._routing = routing
        self._shutdown = shutdown
        self._policy = PollPolicy(has_callbacks=ports.settings.has_callbacks)
        self._by_job_id: dict[str, Tracked] = {}
        self._tracked = TrackedJobs()  # the same jobs, in the order in which the policy reads them
        self._early_hints: dict[str, float] = {}
        self._instead: dict[int, RemoteJob] = {}  # by job: what follows if it is cancelled
        self._disowned: list[Job] = []
        self._notices: set[str] = set()
        self._answered_at = -math.inf
        self._failures = 0
        self._trouble = ""  # reason of the last failed query
        self._is_paused = False  # the service holds its queue back, as far as the last look showed
        self._silent_until = 0.0
        self._pause_announced = False
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
            queue = "paused queue" if self._is_paused else "queue"
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
        if remote is None:
            self._instead.pop(job.id, None)
            return
        self._instead[job.id] = remote
        if (tracked := self._by_job_id.get(job.job_id)) is not None:
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
        now = self._clock.monotonic()
        tracked.refused_since = tracked.refused_since if tracked.refusals else now
        tracked.refusals += 1
        tracked.looked_at, tracked.hinted_at = now, None
        self._tracked.refile(tracked)
        job = tracked.job
        if tracked.refusals == _REPORT_AFTER:
            name = f"{job.spec.media.key!r} ({job.job_id})"
            self._notice(f"The service does not say how the job of {name} stands: {error}")
        # An unreadable answer proves nothing about the job, unless answers about others are read.
        is_alone = isinstance(error, Rejected) or self._answered_at > tracked.refused_since
        refused_s = now - tracked.refused_since
        if is_alone and tracked.refusals >= _LOST_AFTER and refused_s >= _REFUSED_FOR_S:
            text = (
                f"The service has not said for {refused_s / 60:.0f} minutes how it stands: {error}"
            )
            self._drop(tracked, job.job_id)
            self._give_up(job, "StateUnknown", text)
            await self._routing.save([job])
            self._routing.route(job)
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
            self._doubt(job, f"The service answered {job.job_id} for another job, too.")
        self._disowned += jobs
        self._wake.set()

    async def _pass_on_disowned(self) -> None:
        jobs, self._disowned = self._disowned, []
        if jobs:
            await self._routing.save(jobs)
            for job in jobs:
                self._routing.route(job)

    def _doubt(self, job: Job, why: str) -> None:
        job.step(Step.LOSE)
        job.job_id = ""
        job.code, job.message = "AnswerMixedUp", why
        job.submitted_at = job.started_at = None

    def _notice(self, text: str) -> None:
        if text not in self._notices:
            self._notices.add(text)
            self._sink.emit(Noticed(text))

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
            done = self._apply(tracked, by_id.get(job_id))
            is_other = job.job_id != job_id  # it is followed under another id
            if job.state is not before or is_other:
                changed.append(job)
            if done is not None or job.state not in REMOTE or is_other:
                self._drop(tracked, job_id)
                leaving.append((job, done))
            if tracked.hinted_at is not None and tracked.hinted_at <= asked_at:
                tracked.hinted_at = None
            self._tracked.refile(tracked)
        if changed:
            await self._routing.save(changed)
        await self._adopt_others([job for job, _ in leaving])
        for job, answer in leaving:
            if answer is not None:
                self._routing.verify(job, answer)
            else:
                self._routing.route(job)

    async def _adopt_others(self, jobs: Sequence[Job]) -> None:
        """Adopt another job with the key of one that is planned again, if one was found."""
        found = [job for job in jobs if job.state is JobState.PLANNED and job.id in self._instead]
        for job in found:
            job.adopt(self._instead.pop(job.id))
        if found:
            await self._routing.save(found)

    def _apply(self, tracked: Tracked, remote: RemoteJob | None) -> RemoteJob | None:
        """Take the step that an answer means; return the answer if it calls the job done."""
        job = tracked.job
        if remote is None:
            is_done = self._miss(tracked)
            return RemoteJob(job.job_id, RemoteState.SUCCEEDED) if is_done else None
        if (why := _contradiction(job, remote)) is not None:
            self._doubt(job, why)
            return None
        return remote if self._see(tracked, remote) else None

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
        self._tracked.saw(answer, asked_at)

    def _see(self, tracked: Tracked, remote: RemoteJob) -> bool:
        """Take the step that the answer means; return True if the service calls the job done."""
        job = tracked.job
        tracked.missed = 0
        if job.code == LOST_BY_SERVICE:  # as an earlier run found
            job.code = job.message = ""
        self._is_paused = remote.state is RemoteState.PAUSED
        job.started_at = remote.started_at or job.started_at
        job.media_duration_s = remote.media_duration_s or job.media_duration_s
        match remote.state:
            case RemoteState.SUBMITTED | RemoteState.PAUSED:
                self._hold(job, remote.state)
            case RemoteState.RUNNING:
                if job.state is JobState.SUBMITTED:
                    self._move(job, Step.START)
                if tracked.began_at is None:
                    now = self._clock.now()
                    tracked.begin(None if remote.started_at is None else now - remote.started_at)
            case RemoteState.SUCCEEDED:
                job.finished_at = remote.ended_at or self._clock.now()
                self._policy.learn(tracked)
                return True
            case RemoteState.UNKNOWN:
                word = remote.state_word
                self._notice(f"The service calls the state of jobs {word!r}: taken as not ended")
            case RemoteState.FAILED | RemoteState.CANCELLED:
                self._end(tracked, remote)
        self._watch_stall(tracked)
        return False

    def _end(self, tracked: Tracked, remote: RemoteJob) -> None:
        """End a job that failed or was cancelled, or follow another one with its key."""
        job = tracked.job
        other = self._instead.pop(job.id, None)
        if other is not None:
            job.step(Step.LOSE)
            job.forget_attempt()
            job.adopt(other)
        elif remote.state is RemoteState.FAILED:
            self._fail(tracked, remote)
        else:
            job.step(Step.CANCEL)
            job.finished_at = remote.ended_at or self._clock.now()
            job.code = remote.code
            job.message = remote.message or "The job was cancelled at the service."

    def _hold(self, job: Job, state: RemoteState) -> None:
        if job.state is JobState.RUNNING:
            self._move(job, Step.HOLD)
        if state is RemoteState.PAUSED and not self._pause_announced:
            self._pause_announced = True
            text = "The service's queue is paused: its jobs wait until the queue is resumed."
            self._sink.emit(Noticed(text))

    def _move(self, job: Job, step: Step) -> None:
        job.step(step)
        self._sink.emit(JobMoved(job.spec.key, job.spec.media.key, job.state))

    def _fail(self, tracked: Tracked, remote: RemoteJob) -> None:
        """End the job, or plan it again if its failure is transient and attempts are left."""
        job = tracked.job
        job.step(Step.FAIL)
        now = self._clock.now()
        job.finished_at = remote.ended_at or now
        self._policy.learn(tracked)
        job.code, job.message = remote.code, remote.message
        decision = decide(self._settings, job.attempts, now, self._rng)
        if decision.again_at is None or not self._is_transient(remote.code):
            return
        job.step(Step.RETRY)
        job.forget_attempt()
        job.not_before = decision.again_at
        self._sink.emit(JobRetried(job.spec.key, job.spec.media.key, remote.code, job.attempts))

    def _miss(self, tracked: Tracked) -> bool:
        """Note that the service does not know the job: once may be lag, for long it was lost.

        Returns:
            True if it was called done before, so that only its stems are left to look for.
        """
        now = self._clock.monotonic()
        if not tracked.missed:
            tracked.missed_since = now
        tracked.missed += 1
        missed_s = now - tracked.missed_since
        if tracked.missed < _LOST_AFTER or missed_s < _LOST_AFTER_S:
            return False
        job = tracked.job
        if job.code == STEM_MISSING:
            return True  # its record is gone, its stems may be there
        if job.code == LOST_BY_SERVICE and job.state is JobState.SUBMITTED:
            job.step(Step.LOSE)
            return False
        message = (
            f"The service accepted the job as {job.job_id} and does not know it any more "
            f"({tracked.missed} queries in {missed_s:.0f} s). It may have been paid for, so it is "
            "not sent again automatically. With --retry failed the run looks for it again, and "
            "resends it if it does not exist."
        )
        self._give_up(job, LOST_BY_SERVICE, message)
        return False

    def _watch_stall(self, tracked: Tracked) -> None:
        job = tracked.job
        if job.state not in REMOTE:
            return
        moved_at = job.started_at if job.state is JobState.RUNNING else job.submitted_at
        stalled_s = self._clock.now() - moved_at if moved_at is not None else 0.0
        if not tracked.is_from_before:
            # The wall clock may have been set.
            stalled_s = min(stalled_s, self._clock.monotonic() - tracked.since)
        if stalled_s > _STALL_S:
            message = (
                f"The job has been {job.state} for {stalled_s / 3600:.1f} hours; "
                "it is no longer tracked."
            )
            self._give_up(job, "Stalled", message)

    def _give_up(self, job: Job, code: str, message: str) -> None:
        job.step(Step.GIVE_UP)
        job.code, job.message = code, message
        job.finished_at = None

    def _drop(self, tracked: Tracked, job_id: str) -> None:
        self._tracked.remove(self._by_job_id.pop(job_id, tracked))


def _contradiction(job: Job, remote: RemoteJob) -> str | None:
    """Return why an answer under the id of ``job`` is about another job; None if it is not."""
    found = key_of_user_data(remote.user_data)
    if found == job.spec.key:
        return None
    if is_key_of_another(found, job.spec.key):
        return f"The service's job {remote.job_id} carries the key of another job, {found}."
    if not remote.is_about(job.spec.media.key):
        return f"The service's job {remote.job_id} is about {remote.input_object!r}."
    return None
