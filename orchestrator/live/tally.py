"""Counts of a run as it goes, and its outlook, from its events alone."""

from __future__ import annotations

import threading
from collections import Counter, deque
from itertools import chain, islice
from typing import TYPE_CHECKING

from orchestrator.domain import events as ev
from orchestrator.domain.states import JobState
from orchestrator.live.eta import Eta, Load, Underway
from orchestrator.live.snapshot import STAGES, FileNow, Snapshot, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.ports import Clock
    from orchestrator.domain.spec import JobKey

_RATE_WINDOW_S = 60.0
"""The rate is that of the last minute: long enough to be steady, short enough to be current."""
_STEP = 0.02
"""Smallest part from which a pace is taken."""
_ALMOST = 0.99
"""Largest part that the pace alone can show."""
_FILES = 20
"""Files of a snapshot; a terminal rarely has room for more."""
_MOVES = (ev.JobAccepted, ev.JobMoved, ev.JobEnded, ev.JobAdopted, ev.JobProvenAbsent)
"""Events after which a run no longer waits for what it waited for."""


class _Job:
    """A job under way."""

    __slots__ = (
        "first",
        "load",
        "object",
        "part",
        "part_at",
        "running_at",
        "seen_state",
        "sent_at",
    )

    def __init__(self, name: str, state: JobState, media_s: float | None, at: float) -> None:
        self.object = name
        self.seen_state = state
        self.load = Load.of(media_s)
        self.sent_at = at
        self.running_at: float | None = None
        self.part: float | None = None
        self.part_at = at
        self.first = (0.0, at)  # the first part that the service said, and when

    @property
    def media_s(self) -> float | None:
        """Length of its sound, as known or expected."""
        return None if self.load.unsized else self.load.media_s

    def said(self, part: float, at: float) -> None:
        """Note the part that is done, as the service says."""
        if self.part is None:
            self.first = (part, at)
        self.part, self.part_at = part, at

    @property
    def pace(self) -> float | None:
        """Part that is done per second, as the service says, or None."""
        before, since = self.first
        if self.part is None or self.part - before < _STEP or self.part_at <= since:
            return None
        return (self.part - before) / (self.part_at - since)


class _Pool:
    """Jobs of which only the number and the sum of lengths are known."""

    __slots__ = ("jobs", "media_s", "sized")

    def __init__(self) -> None:
        self.jobs = 0
        self.sized = 0
        self.media_s = 0.0

    def add(self, jobs: int, sized: int, media_s: float) -> None:
        """Add jobs, or take them out with negative numbers."""
        self.jobs += jobs
        self.sized = max(self.sized + sized, 0)
        self.media_s = max(self.media_s + media_s, 0.0)

    def put(self, media_s: float | None) -> None:
        """Add one job."""
        self.add(1, media_s is not None, media_s or 0.0)

    def take(self, media_s: float | None) -> None:
        """Take one job out."""
        self.add(-1, -(media_s is not None), -(media_s or 0.0))

    def load(self) -> Load:
        """Return the amount of work."""
        jobs = max(self.jobs, 0)
        sized = min(self.sized, jobs)
        return Load(sized, self.media_s if sized else 0.0, jobs - sized)


class Tally:
    """Jobs of a run by state, the rate at which they end, what it works on, and the time left.

    Snapshots may be taken in another thread than the one in which events arrive.

    Args:
        clock: Time.

    Attributes:
        price_per_min: Price of one minute of output.
        currency: Its currency.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.price_per_min = 0.0
        self.currency = ""
        self._begin("")

    def _begin(self, run: str) -> None:
        """Reset all counts, because a new run begins."""
        self._run = run
        self._where: dict[JobKey, _Job] = {}  # jobs that are neither waiting nor ended
        self._running: dict[JobKey, _Job] = {}  # those of them that run, the oldest first
        self._states: Counter[JobState] = Counter()
        self._ends: deque[float] = deque()
        self._began_at = self._clock.monotonic()
        self._to_refuse = 0  # jobs that cannot be requested, and have not ended
        self._silent = 0  # resumed jobs without news since
        self._early = 0  # jobs with news before they were counted as open
        self._waiting = _Pool()
        self._known = _Pool()  # all jobs whose lengths were heard of, for their mean
        self._done, self._failed = _Pool(), _Pool()
        self._eta = Eta()
        self._eta_now: tuple[float, float | None] | None = None
        self._output_s = 0.0
        self._reasons: tuple[str, ...] = ()
        self._pause = ""
        self._is_stopping = False
        self.ended: dict[JobState, int] = {}
        self.done_before = 0
        self.ended_before = 0
        self.total = 0
        self.is_planned = False

    # --- events

    def emit(self, event: ev.Event) -> None:
        """Take one event."""
        with self._lock:
            if isinstance(event, ev.JobEvent):
                self._note_news(event)
                self._take_job_event(event)
            else:
                self._take_run_event(event)

    def _take_run_event(self, event: ev.Event) -> None:
        match event:
            case ev.RunStarted():
                self._begin(event.run)
            case ev.JobsPlanned():
                self.total += event.new + event.open + event.done + event.ended + event.refused
                self._to_refuse += event.refused
                self.done_before += event.done
                self.ended_before += event.ended
                self._waiting.add(event.new, event.sized, event.media_s)
                self._known.add(event.sized, event.sized, event.media_s)
                known = min(self._early, event.open)
                self._early -= known
                self._silent += event.open - known
            case ev.PlanFinished():
                self.is_planned = True
            case ev.Waiting():
                self._reasons = event.reasons
            case ev.SubmitPaused():
                self._pause = event.reason
            case ev.SubmitResumed():
                self._pause = ""
            case ev.Stopping():
                self._is_stopping = True
            case _:
                pass

    def _take_job_event(self, event: ev.JobEvent) -> None:
        if isinstance(event, _MOVES):
            self._reasons = ()
        match event:
            case ev.JobSending():
                self._waiting.take(event.media_s)
                self._eta.begin(self._clock.monotonic())
                self._set(event, JobState.SUBMITTING, event.media_s)
            case ev.JobTakenUp():
                self._take_up(event)
            case ev.JobAccepted() | ev.JobAdopted():
                self._set(event, JobState.SUBMITTED)
            case ev.JobInDoubt():
                self._set(event, JobState.IN_DOUBT)
            case ev.JobMoved():
                self._set(event, event.state)
            case ev.JobProgressed():
                self._set(event, JobState.RUNNING).said(event.part, self._clock.monotonic())
            case ev.JobEnded():
                self._end(event)
            case _:  # returned, to be retried, proven absent
                found = self._leave(event.key)
                self._waiting.put(found.media_s if found else None)

    def _take_up(self, event: ev.JobTakenUp) -> None:
        if event.media_s is not None:
            self._known.add(1, 1, event.media_s)
        self._eta.begin(self._clock.monotonic())
        self._set(event, event.state, event.media_s, event.for_s)

    def _note_news(self, event: ev.JobEvent) -> None:
        """Note that a resumed job has news: its first event is not a submit."""
        if isinstance(event, ev.JobSending) or event.key in self._where:
            return
        if self._to_refuse and isinstance(event, ev.JobEnded) and event.state is JobState.REJECTED:
            self._to_refuse -= 1
        elif self._silent:
            self._silent -= 1
        elif isinstance(event, ev.JobAdopted):
            self._early += 1

    def _set(
        self, event: ev.JobEvent, state: JobState, media_s: float | None = None, for_s: float = 0.0
    ) -> _Job:
        """Note the state of a job under way."""
        now = self._clock.monotonic()
        job = self._where.get(event.key)
        if job is None:
            job = self._where[event.key] = _Job(event.object, state, media_s, now - for_s)
        else:
            self._states[job.seen_state] -= 1
            job.seen_state = state
        self._states[state] += 1
        if state is JobState.RUNNING:
            if job.running_at is None:
                job.running_at = now - for_s
                self._running[event.key] = job
        elif job.running_at is not None:
            job.running_at = job.part = None
            self._running.pop(event.key, None)
        return job

    def _leave(self, key: JobKey) -> _Job | None:
        """Forget a job that is no longer under way."""
        job = self._where.pop(key, None)
        self._running.pop(key, None)
        if job is not None:
            self._states[job.seen_state] -= 1
        return job

    def _end(self, event: ev.JobEnded) -> None:
        job = self._leave(event.key)
        now = self._clock.monotonic()
        self.ended[event.state] = self.ended.get(event.state, 0) + 1
        self._output_s += event.output_s
        media_s = job.media_s if job else None
        succeeded = event.state is JobState.SUCCEEDED
        (self._done if succeeded else self._failed).put(media_s)
        ran_s = event.ran_s
        if job is not None and (succeeded or ran_s is not None):
            if ran_s is None and job.running_at is not None:
                ran_s = now - job.running_at
            self._eta.end(job.load, now - job.sent_at, ran_s)
        self._ends.append(now)
        while self._ends[0] < now - _RATE_WINDOW_S:
            self._ends.popleft()

    # --- counts

    @property
    def waiting(self) -> int:
        """Jobs that wait to be sent."""
        return self._waiting.jobs

    def of(self, state: JobState) -> int:
        """Return how many jobs are in this state now, with those that ended in this process."""
        if state is JobState.PLANNED:
            return self.waiting
        silent = self._silent if state is JobState.SUBMITTED else 0
        return self._states[state] + self.ended.get(state, 0) + silent

    @property
    def under_way(self) -> int:
        """Jobs that are neither waiting nor ended."""
        return len(self._where) + self._silent

    @property
    def ended_total(self) -> int:
        """Jobs that have ended, in this process or before."""
        return sum(self.ended.values()) + self.done_before + self.ended_before

    @property
    def rate_per_s(self) -> float:
        """Jobs that ended per second, over the last minute."""
        now = self._clock.monotonic()
        span_s = min(now - self._began_at, _RATE_WINDOW_S)
        recent = sum(at >= now - _RATE_WINDOW_S for at in self._ends)
        return recent / span_s if span_s > 0 else 0.0

    # --- outlook

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last known job ends, or None if that cannot be said yet."""
        now = self._clock.monotonic()
        if not self.is_planned or self._pause:
            return None
        if self._eta_now is None or now - self._eta_now[0] >= 1.0:
            waiting, silent = self._waiting.load(), Load(unsized=self._silent)
            here = [self._underway(job, now) for job in self._where.values()]
            self._eta_now = now, self._eta.left_s(now, waiting.plus(silent), here)
        at, left_s = self._eta_now
        return None if left_s is None else max(left_s - (now - at), 0.0)

    @property
    def _mean_s(self) -> float:
        """Mean length of the jobs whose lengths are known; 1 if none is."""
        known = self._known
        return known.media_s / known.sized if known.sized and known.media_s else 1.0

    def _underway(self, job: _Job, now: float) -> Underway:
        ran_s = None if job.running_at is None else now - job.running_at
        part, pace = job.part, job.pace
        if part is not None and pace is not None:
            # The service said so a while ago; since then it has continued at its pace.
            part = max(min(part + pace * (now - job.part_at), _ALMOST), part)
        return Underway(job.load, now - job.sent_at, ran_s, part, pace)

    def snapshot(self) -> Snapshot:
        """Return how the run stands now."""
        with self._lock:
            now = self._clock.monotonic()
            stages: Counter[str] = Counter()
            for state, stage in STAGES.items():
                stages[stage] += self.of(state)
            files = tuple(self._files(now))
            return Snapshot(
                run=self._run,
                at=self._clock.now(),
                elapsed_s=now - self._began_at,
                jobs={stage.value: stages[stage] for stage in Stage},
                work=self._work(now),
                is_planned=self.is_planned,
                done_before=self.done_before + self.ended_before,
                rate_per_s=self.rate_per_s,
                eta_s=None if self._is_stopping else self.eta_s,
                cost=self._output_s / 60 * self.price_per_min,
                currency=self.currency if self.price_per_min else "",
                files=files,
                more_files=self.under_way - len(files),
                waits_for=(self._pause,) if self._pause else self._reasons,
                is_stopping=self._is_stopping,
            )

    def _work(self, now: float) -> dict[str, float]:
        """Return the work in each stage as parts of one."""
        mean_s = self._mean_s

        def seconds(load: Load) -> float:
            return load.media_s + load.unsized * mean_s

        work = dict.fromkeys(Stage, 0.0)
        work[Stage.DONE] = seconds(self._done.load())
        work[Stage.FAILED] = seconds(self._failed.load())
        work[Stage.WAITING] = seconds(self._waiting.load())
        work[Stage.QUEUED] = self._silent * mean_s
        for job in self._where.values():
            whole_s, done_s = seconds(job.load), 0.0
            if job.running_at is not None:
                done_s = whole_s * self._eta.part_of(self._underway(job, now))[0]
            work[Stage.DONE] += done_s
            work[STAGES[job.seen_state]] += whole_s - done_s
        whole = sum(work.values())
        return {stage.value: amount / whole if whole else 0.0 for stage, amount in work.items()}

    def _files(self, now: float) -> Iterator[FileNow]:
        others = (job for job in self._where.values() if job.running_at is None)
        for job in islice(chain(self._running.values(), others), _FILES):
            underway = self._underway(job, now)
            is_running = underway.ran_s is not None
            part, is_said = self._eta.part_of(underway) if is_running else (0.0, False)
            yield FileNow(
                job.object,
                underway.sent_s if underway.ran_s is None else underway.ran_s,
                part or (0.0 if is_said else None),
                is_said,
                is_running,
            )
