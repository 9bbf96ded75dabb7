"""A job service and object storage in memory, with faults drawn from a seed: what a run must survive.

It outlives the client: a request that is on the wire when the client dies may still arrive. So everything that the service does happens
on its own time line, worked off whenever somebody asks.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING

from orchestrator.errors import (
    ApiAnswer,
    ConnectFailed,
    NotFound,
    ProtocolError,
    QueueUnavailable,
    Rejected,
    ReplyTimeout,
    SendInDoubt,
    ServerFault,
    Throttled,
)
from orchestrator.remote import (
    JobFilter,
    JobPage,
    ListedObject,
    ObjectHead,
    ObjectPage,
    QueryReply,
    RemoteFile,
    RemoteJob,
    RemoteState,
    SubmitReply,
)

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Sequence

    from orchestrator.model import JobKey, JobSpec, Place
    from orchestrator.ports import Clock


class Fault(Enum):
    """What can go wrong with one POST."""

    NONE = "none"
    NO_CONNECTION = "no connection"
    ACCEPT_THEN_DROP = "accepted, then the connection drops"
    ACCEPT_THEN_500 = "accepted, then answered 500"
    ACCEPT_THEN_GARBAGE = "accepted, then answered with half an XML"
    DROP = "dropped before it was accepted"
    REFUSE_500 = "answered 500, not accepted"
    THROTTLE = "answered 429"
    QUEUE_FULL = "answered QueueSaturated"
    HANG = "accepted, and no answer ever"
    HANG_LOST = "not accepted, and no answer ever"
    LATE = "accepted after the client gave up waiting"
    REJECT = "answered 400 InvalidArgument"


@dataclass(slots=True)
class Weather:
    """How bad it is.

    Attributes:
        faults: Weights of the faults of a POST.
        query_fails: Share of queries and lists that fail.
        job_fails: Share of jobs that fail for good.
        job_falters: Share of jobs that fail for a passing reason.
        latency_s: Longest time from sending to arrival, and back.
        reply_timeout_s: When the client gives up waiting.
        listing_lag_s: Longest time until an accepted job is listed.
        job_s: Longest time of one job.
        concurrency: Jobs that run at once.
    """

    faults: dict[Fault, float] = field(default_factory=lambda: {Fault.NONE: 1.0})
    query_fails: float = 0.0
    job_fails: float = 0.0
    job_falters: float = 0.0
    latency_s: float = 0.05
    reply_timeout_s: float = 10.0
    listing_lag_s: float = 0.0
    job_s: float = 20.0
    concurrency: int = 4


@dataclass(slots=True)
class FakeJob:
    """A job at the fake service; times are monotonic."""

    job_id: str
    spec: JobSpec
    accepted_at: float
    listed_at: float
    state: RemoteState = RemoteState.SUBMITTED
    code: str = ""
    started_at: float | None = None
    ended_at: float | None = None


class FakeService:
    """``JobService`` and ``ObjectStore`` in memory.

    Args:
        clock: Time; may be replaced (a new process has a new clock over the same time).
        rng: Source of all chance.
        weather: How bad it is.
    """

    def __init__(self, clock: Clock, rng: random.Random, weather: Weather | None = None) -> None:
        self.clock = clock
        self.weather = weather or Weather()
        self.jobs: dict[str, FakeJob] = {}
        self.rejected: list[JobKey] = []
        self.arrivals: list[float] = []
        self.starts: list[FakeJob] = []
        self.objects: dict[tuple[Place, str], int] = {}
        self.calls = {"submit": 0, "query": 0, "list": 0, "head": 0, "cancel": 0}
        self.on_end: Callable[[str], None] | None = None
        self._rng = rng
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    # --- the service's own time line

    def _at(self, when: float, act: Callable[[], None]) -> None:
        heappush(self._agenda, (when, next(self._order), act))

    def catch_up(self) -> None:
        """Do all that is due by now."""
        now = self.clock.monotonic()
        while self._agenda and self._agenda[0][0] <= now:
            heappop(self._agenda)[2]()

    def accepted(self, key: JobKey) -> list[FakeJob]:
        """The jobs that were made for a key."""
        return [job for job in self.jobs.values() if job.spec.key == key]

    def _accept(self, spec: JobSpec, when: float) -> FakeJob:
        job = FakeJob(f"j{len(self.jobs):032x}", spec, when, when + self._rng.uniform(0, self.weather.listing_lag_s))
        self.jobs[job.job_id] = job
        self._start_next(when)
        return job

    def _start_next(self, when: float) -> None:
        running = sum(job.state is RemoteState.RUNNING for job in self.jobs.values())
        waiting = [job for job in self.jobs.values() if job.state is RemoteState.SUBMITTED]
        waiting.sort(key=lambda job: (-job.spec.level, job.accepted_at, job.job_id))
        for job in waiting[: max(self.weather.concurrency - running, 0)]:
            job.state, job.started_at = RemoteState.RUNNING, when
            self.starts.append(job)
            end = when + self._rng.uniform(self.weather.job_s / 4, self.weather.job_s)
            self._at(end, lambda job=job, end=end: self._end(job, end))  # type: ignore[misc]

    def _end(self, job: FakeJob, when: float) -> None:
        dice = self._rng.random()
        job.ended_at = when
        if dice < self.weather.job_falters:
            job.state, job.code = RemoteState.FAILED, "InternalError"
        elif dice < self.weather.job_falters + self.weather.job_fails:
            job.state, job.code = RemoteState.FAILED, "ResourceNotSupported"
        else:
            for name in self._names(job):
                self.objects[job.spec.output.place, name] = 1000
            job.state = RemoteState.SUCCEEDED
        self._start_next(when)
        if self.on_end is not None:
            self.on_end(job.job_id)

    def _names(self, job: FakeJob) -> list[str]:
        return [name.replace("${ext}", "mp3").replace("${jobid}", job.job_id) for name in job.spec.output.names().values()]

    # --- JobService

    async def submit(self, spec: JobSpec) -> SubmitReply:
        """See ``ports.JobService``."""
        self.calls["submit"] += 1
        self.catch_up()
        kinds = list(self.weather.faults)
        fault = self._rng.choices(kinds, [self.weather.faults[kind] for kind in kinds])[0]
        arrival = self.clock.monotonic() + self._rng.uniform(0, self.weather.latency_s)
        self.arrivals.append(arrival)
        accepted: list[FakeJob] = []
        if fault in _ACCEPTING:
            late = self.weather.reply_timeout_s if fault is Fault.LATE else 0.0
            self._at(arrival + late, lambda: accepted.append(self._accept(spec, arrival + late)))
        await self.clock.sleep(arrival - self.clock.monotonic())
        await self.clock.sleep(self._rng.uniform(0, self.weather.latency_s))
        self.catch_up()
        if fault in (Fault.HANG, Fault.HANG_LOST, Fault.LATE):
            await self.clock.sleep(self.weather.reply_timeout_s)
            raise ReplyTimeout
        self._fail(fault, spec)
        return SubmitReply(self._view(accepted[0]), request_id=f"r{self.calls['submit']}")

    def _fail(self, fault: Fault, spec: JobSpec) -> None:
        match fault:
            case Fault.NO_CONNECTION:
                raise ConnectFailed
            case Fault.ACCEPT_THEN_DROP | Fault.DROP:
                raise SendInDoubt
            case Fault.ACCEPT_THEN_500 | Fault.REFUSE_500:
                raise ServerFault(ApiAnswer(500, "InternalError", "we are sorry"))
            case Fault.ACCEPT_THEN_GARBAGE:
                raise ProtocolError("not XML", b"<Respon")
            case Fault.THROTTLE:
                raise Throttled(ApiAnswer(429, "SlowDown", "too fast"), retry_after_s=self._rng.choice([None, 1.0]))
            case Fault.QUEUE_FULL:
                raise QueueUnavailable(ApiAnswer(403, "QueueSaturated", "full"))
            case Fault.REJECT:
                self.rejected.append(spec.key)
                raise Rejected(ApiAnswer(400, "InvalidArgument", "no"))
            case _:
                return

    async def query(self, place: Place, job_ids: Sequence[str]) -> QueryReply:
        """See ``ports.JobService``."""
        self.calls["query"] += 1
        await self._trip()
        known = [self.jobs[job_id] for job_id in job_ids if self._has(place, job_id)]
        return QueryReply(tuple(map(self._view, known)), tuple(job_id for job_id in job_ids if not self._has(place, job_id)))

    def _has(self, place: Place, job_id: str) -> bool:
        return job_id in self.jobs and self.jobs[job_id].spec.media.place == place

    async def list_jobs(self, place: Place, wanted: JobFilter, next_token: str = "") -> JobPage:
        """See ``ports.JobService``."""
        self.calls["list"] += 1
        await self._trip()
        now = self.clock.monotonic()
        listed = [job for job in self.jobs.values() if job.listed_at <= now and self._is_wanted(job, place, wanted)]
        begin = int(next_token or 0)
        page = listed[begin : begin + wanted.size]
        token = str(begin + wanted.size) if begin + wanted.size < len(listed) else ""
        return JobPage(tuple(map(self._view, page)), token)

    def _is_wanted(self, job: FakeJob, place: Place, wanted: JobFilter) -> bool:
        created_at = self._view(job).created_at or 0.0
        return (
            job.spec.media.place == place
            and wanted.input_object in ("", job.spec.media.key)
            and (wanted.created_from is None or created_at >= wanted.created_from)
        )

    async def cancel(self, place: Place, job_id: str) -> None:
        """See ``ports.JobService``."""
        self.calls["cancel"] += 1
        await self._trip()
        if not self._has(place, job_id):
            raise NotFound(ApiAnswer(400, "ResourceNotFound", "no such job"))
        job = self.jobs[job_id]
        if job.state is not RemoteState.SUBMITTED:
            raise Rejected(ApiAnswer(400, "InvalidArgument", "The job provided can not be modified"))
        job.state, job.ended_at = RemoteState.CANCELLED, self.clock.monotonic()

    async def _trip(self) -> None:
        """There and back."""
        await self.clock.sleep(self._rng.uniform(0, 2 * self.weather.latency_s))
        self.catch_up()
        if self._rng.random() < self.weather.query_fails:
            self._fail(self._rng.choice([Fault.NO_CONNECTION, Fault.DROP, Fault.REFUSE_500, Fault.THROTTLE]), None)  # type: ignore[arg-type]

    def _view(self, job: FakeJob) -> RemoteJob:
        epoch = self.clock.now() - self.clock.monotonic()
        done = job.state is RemoteState.SUCCEEDED
        return RemoteJob(
            job_id=job.job_id,
            state=job.state,
            code=job.code,
            message="it broke" if job.code else "",
            queue_id="p0",
            created_at=epoch + job.accepted_at,
            started_at=None if job.started_at is None else epoch + job.started_at,
            ended_at=None if job.ended_at is None else epoch + job.ended_at,
            input_object=job.spec.media.key,
            user_data=job.spec.wire_user_data,
            files=tuple(RemoteFile(name, "0" * 32) for name in self._names(job)) if done else (),
            media_duration_s=12.5 if done else None,
        )

    # --- ObjectStore

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """See ``ports.ObjectStore``."""
        self.calls["head"] += 1
        await self._trip()
        size = self.objects.get((place, key))
        return None if size is None else ObjectHead(size, etag="0" * 32)

    async def list_objects(self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000) -> ObjectPage:
        """See ``ports.ObjectStore``."""
        await self._trip()
        keys = sorted(key for at, key in self.objects if at == place and key.startswith(prefix) and key > marker)
        page = keys[:max_keys]
        return ObjectPage(tuple(ListedObject(key, self.objects[place, key]) for key in page), page[-1] if len(keys) > max_keys else "")

    async def get(self, place: Place, key: str) -> AsyncIterator[bytes]:
        """See ``ports.ObjectStore``."""
        if (place, key) not in self.objects:
            raise NotFound(ApiAnswer(404, "NoSuchKey", key))
        return _pieces(b"\0" * self.objects[place, key])

    async def put(self, place: Place, key: str, content: bytes, content_type: str = "application/octet-stream") -> ObjectHead:
        """See ``ports.ObjectStore``."""
        self.objects[place, key] = len(content)
        return ObjectHead(len(content), content_type=content_type)


_ACCEPTING = frozenset({Fault.NONE, Fault.ACCEPT_THEN_DROP, Fault.ACCEPT_THEN_500, Fault.ACCEPT_THEN_GARBAGE, Fault.HANG, Fault.LATE})


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop, not time
    yield content
