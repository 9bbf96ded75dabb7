"""A job service with object storage in memory, whose faults are drawn from a seed.

The service outlives its client: a request on the wire when the client dies may still arrive. So
every act of the service has an instant on an agenda, which each request works off first.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from orchestrator.domain.remote import (
    JobFilter,
    JobPage,
    QueryReply,
    RemoteFile,
    RemoteJob,
    RemoteState,
    SubmitReply,
)
from orchestrator.errors import ApiAnswer, NotFound, Rejected, ReplyTimeout, Throttled
from orchestrator.testing.oddities import OddJob
from orchestrator.testing.storage import FakeStorage
from orchestrator.testing.weather import ACCEPTING, Fault, Weather, error_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from orchestrator.domain.ports import Clock
    from orchestrator.domain.spec import JobKey, JobSpec, Place


_READ_FAULTS = [
    Fault.NO_CONNECTION, Fault.DROP, Fault.REFUSE_500, Fault.REFUSE_503, Fault.THROTTLE, Fault.BARE,
]  # fmt: skip
"""Faults of queries, lists and HEADs."""


@dataclass(slots=True)
class FakeJob:
    """A job at the fake service; its times are monotonic."""

    job_id: str
    spec: JobSpec
    accepted_at: float
    listed_at: float
    state: RemoteState = RemoteState.SUBMITTED
    code: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    odd: OddJob = field(default_factory=OddJob)


class FakeService(FakeStorage):
    """``JobService`` and ``ObjectStore`` in memory.

    Args:
        clock: The clock; a test may replace it, as each process has its own over the same time.
        rng: Source of all random draws.
        weather: Faults, delays and capacity; no faults by default.
    """

    def __init__(self, clock: Clock, rng: random.Random, weather: Weather | None = None) -> None:
        super().__init__()
        self.clock = clock
        self.weather = weather or Weather()
        self.jobs: dict[str, FakeJob] = {}
        self.rejected: list[JobKey] = []
        self.arrivals: list[tuple[float, JobKey]] = []
        """Arrivals of POSTs, and the keys that they carry."""
        self.starts: list[FakeJob] = []
        self.calls = {"submit": 0, "query": 0, "list": 0, "cancel": 0}
        self.on_end: Callable[[str], None] | None = None
        self.at_once = 0
        """Jobs that have not ended, and POSTs under way that may make one."""
        self.most_at_once = 0
        """Highest value of ``at_once``."""
        self._rng = rng
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._numbers = count()
        self._waiting: list[tuple[int, float, str]] = []  # a heap by level, then by age
        self._running = 0
        self._recent: deque[float] = deque()
        self._resumes_at = float("-inf")

    # --- the agenda

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heappush(self._agenda, (when, next(self._order), act))

    def catch_up(self) -> None:
        """Do everything on the agenda that is due by now."""
        now = self.clock.monotonic()
        while self._agenda and self._agenda[0][0] <= now:
            heappop(self._agenda)[2]()

    def accepted(self, key: JobKey) -> list[FakeJob]:
        """Return the jobs that were created for a key."""
        return [job for job in self.jobs.values() if job.spec.key == key]

    def _accept(self, spec: JobSpec, when: float) -> FakeJob:
        job = FakeJob(
            f"j{next(self._numbers):032x}",
            spec,
            when,
            when
            + self.weather.oddities.least_lag_s
            + self._rng.uniform(0, self.weather.listing_lag_s),
            odd=OddJob.draw(self.weather.oddities, self._rng, when),
        )
        self.jobs[job.job_id] = job
        heappush(self._waiting, (-spec.level, when, job.job_id))
        self._start_next(when)
        return job

    def _start_next(self, when: float) -> None:
        if self.weather.is_held(when):
            resumes_at = max(spell.ends_at for spell in self.weather.spells if spell.is_on(when))
            if resumes_at > self._resumes_at:
                self._resumes_at = resumes_at
                self._at(resumes_at, partial(self._start_next, resumes_at))
            return
        while self._waiting and self._running < self.weather.concurrency:
            job = self.jobs.get(heappop(self._waiting)[2])
            if job is None or job.state is not RemoteState.SUBMITTED:
                continue  # lost or cancelled
            self._running += 1
            job.state, job.started_at = RemoteState.RUNNING, when
            self.starts.append(job)
            end = when + self._rng.uniform(*self.weather.bounds_of_run(job.spec))
            self._at(end, partial(self._end, job, end))

    def _end(self, job: FakeJob, when: float) -> None:
        dice = self._rng.random()
        job.ended_at = when
        self._running -= 1
        self.at_once -= 1
        if dice < self.weather.job_falters:
            job.state, job.code = RemoteState.FAILED, "InternalError"
        elif dice < self.weather.job_falters + self.weather.job_fails:
            job.state, job.code = RemoteState.FAILED, "ResourceNotSupported"
        else:
            late_s = self.weather.oddities.late_stems_s
            if late_s:
                self._at(when + late_s, partial(self._store, job))
            else:
                self._store(job)
            job.state = RemoteState.SUCCEEDED
        self._start_next(when)
        if self.on_end is not None:
            self.on_end(job.job_id)

    def _store(self, job: FakeJob) -> None:
        for name in self._names(job):
            self.objects[job.spec.output.place, name] = 1000

    def _names(self, job: FakeJob) -> list[str]:
        return [
            name.replace("${ext}", "mp3").replace("${jobid}", job.job_id)
            for name in job.spec.output.names().values()
        ]

    # --- JobService

    async def submit(self, spec: JobSpec) -> SubmitReply:
        """See ``ports.JobService``."""
        self.calls["submit"] += 1
        number = self.calls["submit"]
        self.catch_up()
        kinds = list(self.weather.faults)
        fault = self._rng.choices(kinds, [self.weather.faults[kind] for kind in kinds])[0]
        arrival = self.clock.monotonic() + self._rng.uniform(0, self.weather.latency_s)
        self.arrivals.append((arrival, spec.key))
        refusal = self.weather.refusal(spec.media.place, arrival, is_submit=True)
        if refusal is None and self._is_over_limit():
            refusal = Throttled(ApiAnswer(429, "SlowDown", "the account sends too fast"))
        is_accepted = refusal is None and fault in ACCEPTING
        made: list[FakeJob] = []
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if is_accepted:
            late_s = self.weather.reply_timeout_s if fault is Fault.LATE else 0.0
            self._at(arrival + late_s, lambda: made.append(self._accept(spec, arrival + late_s)))
        try:
            await self._answer(fault, arrival)
            if refusal is not None or (refusal := error_of(fault, self._rng)) is not None:
                if fault is Fault.REJECT:
                    self.rejected.append(spec.key)
                raise refusal
            if fault in (Fault.HANG, Fault.HANG_LOST, Fault.LATE):
                await self.clock.sleep(self.weather.reply_timeout_s)
                raise ReplyTimeout
        finally:
            if not is_accepted:
                self.at_once -= 1
        return SubmitReply(self._mixed_up(self._view(made[0])), request_id=f"r{number}")

    def _is_over_limit(self) -> bool:
        """Count a POST towards the limit of the account, which all of its runs share."""
        now, recent = self.clock.monotonic(), self._recent
        while recent and recent[0] <= now - 1.0:
            recent.popleft()
        if len(recent) >= self.weather.account_per_s:
            return True
        recent.append(now)
        return False

    def _mixed_up(self, view: RemoteJob) -> RemoteJob:
        """Return the answer to a submit, or one with the id of the job before."""
        if len(self.jobs) < 2 or self._rng.random() >= self.weather.oddities.mix_ups:
            return view
        before = f"j{int(view.job_id[1:], 16) - 1:032x}"
        if before not in self.jobs or not self._has(
            self.jobs[view.job_id].spec.media.place, before
        ):
            return view
        return view._replace(job_id=before, user_data="")

    async def _answer(self, fault: Fault, arrival: float) -> None:
        """Sleep while the request travels, is served, and is answered."""
        await self.clock.sleep(arrival - self.clock.monotonic())
        slow_s = 0.9 * self.weather.reply_timeout_s if fault is Fault.SLOW else 0.0
        await self.clock.sleep(slow_s + self._rng.uniform(0, self.weather.latency_s))
        self.catch_up()

    async def query(self, place: Place, job_ids: Sequence[str]) -> QueryReply:
        """See ``ports.JobService``."""
        self.calls["query"] += 1
        await self._trip(place)
        now = self.clock.monotonic()
        if any(
            self._has(place, id_) and self.jobs[id_].odd.is_refused_until > now for id_ in job_ids
        ):
            raise Rejected(ApiAnswer(400, "InvalidArgument", "one of the ids is odd"))
        known = [self.jobs[job_id] for job_id in job_ids if self._has(place, job_id)]
        return QueryReply(
            tuple(map(self._view, known)),
            tuple(job_id for job_id in job_ids if not self._has(place, job_id)),
        )

    def _has(self, place: Place, job_id: str) -> bool:
        return job_id in self.jobs and self.jobs[job_id].spec.media.place == place

    async def list_jobs(self, place: Place, wanted: JobFilter, next_token: str = "") -> JobPage:
        """See ``ports.JobService``."""
        self.calls["list"] += 1
        await self._trip(place)
        oddities = self.weather.oddities
        if oddities.needs_queue and not wanted.queue_id:
            raise Rejected(ApiAnswer(400, "InvalidArgument", "queueId is required"))
        now = self.clock.monotonic()
        listed = [
            job
            for job in self.jobs.values()
            if job.listed_at <= now and self._is_wanted(job, place, wanted)
        ]
        listed.reverse()  # the newest first
        begin = int(next_token or 0)
        page = listed[begin : begin + wanted.size]
        token = str(begin + wanted.size) if begin + wanted.size < len(listed) else ""
        foreign = oddities.foreign_jobs(wanted.input_object)
        return JobPage((*foreign, *map(self._view, page)), token)

    def _is_wanted(self, job: FakeJob, place: Place, wanted: JobFilter) -> bool:
        return (
            job.spec.media.place == place
            and wanted.input_object in ("", job.spec.media.key)
            and (
                wanted.created_from is None
                or self._epoch() + job.accepted_at >= wanted.created_from
            )
            and (wanted.created_to is None or self._epoch() + job.accepted_at <= wanted.created_to)
        )

    async def queues(self, place: Place) -> list[str]:
        """See ``ports.JobService``."""
        self.calls["list"] += 1
        await self._trip(place)
        return ["p0"]

    async def cancel(self, place: Place, job_id: str) -> None:
        """See ``ports.JobService``."""
        self.calls["cancel"] += 1
        await self._trip(place)
        if not self._has(place, job_id):
            raise NotFound(ApiAnswer(400, "ResourceNotFound", "no such job"))
        job = self.jobs[job_id]
        if job.state is not RemoteState.SUBMITTED:
            raise Rejected(
                ApiAnswer(400, "InvalidArgument", "The job provided can not be modified")
            )
        job.state, job.ended_at = RemoteState.CANCELLED, self.clock.monotonic()
        self.at_once -= 1

    async def _trip(self, place: Place) -> None:
        """Sleep for a round trip; raise if the service fails it."""
        await self.clock.sleep(self._rng.uniform(0, 2 * self.weather.latency_s))
        self.catch_up()
        now = self.clock.monotonic()
        if (refusal := self.weather.refusal(place, now, is_submit=False)) is not None:
            raise refusal
        if self._rng.random() < self.weather.query_fails and (
            error := error_of(self._rng.choice(_READ_FAULTS), self._rng)
        ):
            raise error

    def _epoch(self) -> float:
        return self.clock.now() - self.clock.monotonic()

    def _view(self, job: FakeJob) -> RemoteJob:
        epoch = self._epoch()
        done = job.state is RemoteState.SUCCEEDED
        is_held = job.state is RemoteState.SUBMITTED and self.weather.is_paused(
            self.clock.monotonic()
        )
        has_odd_state = job.odd.has_odd_state_until > self.clock.monotonic()
        state = RemoteState.PAUSED if is_held else job.state
        return RemoteJob(
            job_id=job.job_id,
            state=RemoteState.UNKNOWN if has_odd_state else state,
            code=job.code,
            message="it broke" if job.code else "",
            queue_id="p0",
            created_at=epoch + job.accepted_at,
            started_at=None if job.started_at is None else epoch + job.started_at,
            ended_at=None if job.ended_at is None else epoch + job.ended_at,
            input_object=job.spec.media.key,
            user_data=self.weather.oddities.echo_of(
                job.spec.wire_user_data, self.clock.monotonic()
            ),
            files=tuple(RemoteFile(name, "0" * 32) for name in self._names(job))
            if done and not job.odd.is_nameless
            else (),
            media_duration_s=12.5 if done else None,
            state_word="Auditing" if has_odd_state else "",
        )
