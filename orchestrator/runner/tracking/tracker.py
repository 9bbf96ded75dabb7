"""Follow accepted jobs to their end: batched polls (``poll`` decides when and about what).

Only ``GET /jobs/<ids>`` is believed; a callback is a hint to ask sooner. A query carries up to ten ids, so a look at one job takes along
the others that are due soon.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobMoved, JobRetried, Noticed
from orchestrator.domain.job import LOST_BY_SERVICE
from orchestrator.domain.remote import QueryReply, RemoteJob, RemoteState
from orchestrator.domain.states import JobState, Step
from orchestrator.errors import NotFound, OrchestratorError, Throttled
from orchestrator.runner.retry import backoff_s, decide
from orchestrator.runner.tracking.poll_policy import Followed, PollPlan, Round, Tracked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.runner.ports import Parts


_MAX_EARLY_HINTS = (
    1000  # the latest ones: the others are about jobs that have ended, or were never ours
)


class Tracker:
    """Polls jobs at the service until they end.

    Args:
        parts: The ports.
        record: Saves jobs; returns when they are durable.
        on_done: Takes jobs that the service calls done, with its answer, to be verified.
        on_returned: Takes jobs that are planned again.
        on_ended: Takes jobs that ended otherwise.
        on_lost: Takes jobs that the service lost, and that the user wants nevertheless: they must be looked for.
        on_fatal: Asks for the end of the run.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        record: Callable[[Sequence[Job]], Awaitable[None]],
        on_done: Callable[[Job, RemoteJob], None],
        on_returned: Callable[[Job], None],
        on_ended: Callable[[Job], None],
        on_lost: Callable[[Job], None],
        on_fatal: Callable[[OrchestratorError], None],
    ) -> None:
        self._service = parts.service
        self._limiter = parts.query_limiter
        self._clock = parts.clock
        self._settings = parts.settings
        self._rng = parts.rng
        self._sink = parts.sink
        self._record = record
        self._is_transient = parts.is_transient
        self._on_done = on_done
        self._on_returned = on_returned
        self._on_ended = on_ended
        self._on_lost = on_lost
        self._on_fatal = on_fatal
        self._plan = PollPlan(parts.settings)
        self._jobs: dict[str, Tracked] = {}  # by remote id
        self._followed = Followed()  # the same, in the orders that decide
        self._early_hints: dict[str, float] = {}
        self._failures = 0
        self._silent_until = 0.0
        self._paused_noticed = False
        self._wake = asyncio.Event()
        self.queries = 0
        """Query calls made."""

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job, *, at_once: bool = False) -> None:
        """Follow an accepted job; ``at_once`` if it may have ended long ago (a run that goes on, an adopted job)."""
        now = self._clock.monotonic()
        early = self._early_hints.pop(job.job_id, None)
        looked_at = float("-inf") if at_once else now
        if (before := self._jobs.get(job.job_id)) is not None:
            self._drop(before)
        tracked = self._jobs[job.job_id] = Tracked(
            job, now, looked_at, hinted_at=early, is_from_before=at_once
        )
        self._followed.add(tracked)
        # A job that was accepted just now has not ended: it is seen with the next look. To look at all for each one would cost far more
        # than sending it.
        if at_once or early is not None or len(self._jobs) == 1:
            self._wake.set()

    def hint(self, job_id: str) -> None:
        """Somebody says that this job has ended: look soon. It may be so early that the answer to the submit is still on its way."""
        now = self._clock.monotonic()
        tracked = self._jobs.get(job_id)
        if tracked is not None:
            if tracked.hinted_at is None:
                tracked.hinted_at = now
                self._followed.refile(tracked)
            self._wake.set()
        else:
            self._early_hints[job_id] = now
            if len(self._early_hints) > _MAX_EARLY_HINTS:
                self._early_hints.pop(next(iter(self._early_hints)))

    async def run(self) -> None:
        """Poll, for ever. Queries run side by side, up to the bound."""
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
                self._plan.asked(batch, self._clock.monotonic())
                for tracked in batch:
                    tracked.is_asked = True
                task = queries.create_task(self._query(batch))
                task.add_done_callback(lambda _: slots.release())

    def _decide(self) -> Round:
        return self._plan.decide(self._followed, self._clock.monotonic())

    async def _until_worth_asking(self) -> None:
        while True:
            self._wake.clear()
            silent_s = self._silent_until - self._clock.monotonic()
            found = Round(again_in_s=silent_s) if silent_s > 0 else self._decide()
            if found.batch:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(
                    None if found.again_in_s is None else max(found.again_in_s, 0.001)
                ):
                    await self._wake.wait()

    async def _query(self, batch: Sequence[Tracked]) -> None:
        ids = [tracked.job.job_id for tracked in batch]
        self.queries += 1
        asked_at = self._clock.monotonic()
        try:
            reply = await self._service.query(batch[0].job.spec.media.place, ids)
        except NotFound:
            # Some services answer so when none of the ids exists.
            await self._take(batch, QueryReply(missing=tuple(ids)), asked_at)
        except OrchestratorError as error:
            self._back_off(error)
        else:
            self._failures = 0
            self._limiter.accepted()
            await self._take(batch, reply, asked_at)
        finally:
            # Only now: two answers about one job at a time would race each other to the ledger.
            for tracked in batch:
                tracked.is_asked = False
            self._wake.set()

    def _back_off(self, error: OrchestratorError) -> None:
        """Nothing was learned; ask again later. Only what no waiting can mend stops the run."""
        if error.fatal:
            self._on_fatal(error)
        self._failures += 1
        if isinstance(error, Throttled):
            self._limiter.throttled(error.retry_after_s)
        delay_s = backoff_s(
            self._settings, self._failures, self._rng, self._settings.poll_min_s / 2
        )
        self._silent_until = max(self._silent_until, self._clock.monotonic() + delay_s)

    async def _take(self, batch: Sequence[Tracked], reply: QueryReply, asked_at: float) -> None:
        """Work one answer into the jobs, save those that changed, hand on those that ended."""
        now = self._clock.now()
        self._plan.freed(
            [max(now - job.ended_at, 0.0) for job in reply.jobs if job.ended_at is not None],
            self._clock.monotonic(),
        )
        by_id = {remote.job_id: remote for remote in reply.jobs}
        changed: list[Job] = []
        hand_on: list[Callable[[], None]] = []
        waited = [
            by_id[tracked.job.job_id].state
            for tracked in batch
            if not tracked.is_running and tracked.job.job_id in by_id
        ]
        for tracked in batch:
            job = tracked.job
            remote = by_id.get(job.job_id)
            before = job.state
            if remote is None:
                self._miss(tracked)
            else:
                tracked.missed = 0
                self._see(tracked, remote, hand_on)
            if job.state is not before:
                changed.append(job)
            tracked.looked_at = self._clock.monotonic()
            if tracked.hinted_at is not None and tracked.hinted_at <= asked_at:
                tracked.hinted_at = None
            self._followed.refile(tracked)
            if job.state in (JobState.FAILED, JobState.CANCELLED, JobState.UNFINISHED):
                self._drop(tracked)
                hand_on.append(lambda job=job: self._on_ended(job))  # type: ignore[misc]
            elif job.state is JobState.IN_DOUBT:
                self._drop(tracked)
                hand_on.append(lambda job=job: self._on_lost(job))  # type: ignore[misc]
        if waited:
            is_waiting = RemoteState.SUBMITTED in waited or RemoteState.PAUSED in waited
            self._plan.saw_queue(batch[0].job.spec.media.place, is_waiting=is_waiting)
        if changed:
            await self._record(changed)
        for act in hand_on:
            act()

    def _see(self, tracked: Tracked, remote: RemoteJob, hand_on: list[Callable[[], None]]) -> None:
        """Take the step that the service's word means."""
        job = tracked.job
        if job.code == LOST_BY_SERVICE:  # an earlier visit said so
            job.code = job.message = ""
        job.started_at = remote.started_at or job.started_at
        job.media_duration_s = remote.media_duration_s or job.media_duration_s
        match remote.state:
            case RemoteState.SUBMITTED | RemoteState.PAUSED:
                self._hold(job, remote.state)
            case RemoteState.RUNNING:
                if job.state is JobState.SUBMITTED:
                    self._move(job, Step.START)
            case RemoteState.SUCCEEDED:
                job.finished_at = remote.ended_at or self._clock.now()
                self._plan.learn(job)
                self._drop(tracked)
                hand_on.append(lambda: self._on_done(job, remote))
            case RemoteState.FAILED:
                self._fail(tracked, remote, hand_on)
            case RemoteState.CANCELLED:
                job.step(Step.CANCEL)
                job.finished_at = remote.ended_at or self._clock.now()
                job.code, job.message = (
                    remote.code,
                    remote.message or "The job was cancelled at the service.",
                )
        self._watch_stall(tracked)

    def _hold(self, job: Job, state: RemoteState) -> None:
        if job.state is JobState.RUNNING:
            self._move(job, Step.HOLD)
        if state is RemoteState.PAUSED and not self._paused_noticed:
            self._paused_noticed = True
            self._sink.emit(
                Noticed("The service's queue is paused: its jobs wait until somebody resumes it.")
            )

    def _move(self, job: Job, step: Step) -> None:
        job.step(step)
        self._sink.emit(JobMoved(job.spec.key, job.spec.media.key, job.state))

    def _fail(self, tracked: Tracked, remote: RemoteJob, hand_on: list[Callable[[], None]]) -> None:
        """End the job, or plan it again if its failure is of the passing kind and attempts are left."""
        job = tracked.job
        job.step(Step.FAIL)
        now = self._clock.now()
        job.finished_at = remote.ended_at or now
        self._plan.learn(job)
        job.code, job.message = remote.code, remote.message
        decision = decide(self._settings, job.attempts, now, self._rng)
        if decision.again_at is None or not self._is_transient(remote.code):
            return
        self._drop(tracked)
        job.step(Step.RETRY)
        job.past_job_ids = (*job.past_job_ids, job.job_id)
        job.job_id = ""
        job.started_at = job.finished_at = job.submitted_at = None
        job.not_before = decision.again_at
        self._sink.emit(JobRetried(job.spec.key, job.spec.media.key, remote.code, job.attempts))
        hand_on.append(lambda: self._on_returned(job))

    def _miss(self, tracked: Tracked) -> None:
        """The service does not know the job. Once may be lag; persistently means that it was lost."""
        now = self._clock.monotonic()
        if not tracked.missed:
            tracked.missed_since = now
        tracked.missed += 1
        if (
            tracked.missed < self._settings.lost_after
            or now - tracked.missed_since < self._settings.lost_after_s
        ):
            return
        job = tracked.job
        if job.code == LOST_BY_SERVICE and job.state is JobState.SUBMITTED:
            job.step(Step.LOSE)
            return
        self._give_up(
            job,
            LOST_BY_SERVICE,
            f"The service accepted the job as {job.job_id}, and now does not know it ({tracked.missed} queries in "
            f"{now - tracked.missed_since:.0f} s). It may have been paid for, so it is not sent again by itself; with --retry failed it is "
            "looked for once more, and made anew if it does not exist.",
        )

    def _watch_stall(self, tracked: Tracked) -> None:
        job = tracked.job
        moved_at = job.started_at if job.state is JobState.RUNNING else job.submitted_at
        stalled_s = (
            self._clock.now() - moved_at
            if moved_at is not None and job.job_id in self._jobs
            else 0.0
        )
        if not tracked.is_from_before:
            stalled_s = min(
                stalled_s, self._clock.monotonic() - tracked.since
            )  # the wall clock may have been set
        if (
            job.state in (JobState.SUBMITTED, JobState.RUNNING)
            and stalled_s > self._settings.stall_s
        ):
            self._give_up(
                job,
                "Stalled",
                f"The job has been {job.state} for {stalled_s / 3600:.1f} hours; it is no longer waited for.",
            )

    def _give_up(self, job: Job, code: str, message: str) -> None:
        job.step(Step.GIVE_UP)
        job.code, job.message = code, message
        job.finished_at = None

    def _drop(self, tracked: Tracked) -> None:
        self._followed.remove(self._jobs.pop(tracked.job.job_id, tracked))
