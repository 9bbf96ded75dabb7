"""Estimate when a run ends, from the work that is done, under way and left.

Work is measured in seconds of run time, as the jobs that have ended let expect: some per job, and
some per second of media. Work that is half done counts half. Three bounds are estimated, and the
latest one counts:

* the work that is left, at the rate of the last half of the run;
* the longest of the jobs that run now: the last ones run side by side;
* whole jobs on whole slots: five jobs on two slots take three rounds.
"""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_MEMORY = 0.98
"""Weight of what was learned before, at each new observation: about the last fifty jobs count."""
_SETTLED_PART = 0.05
"""Part of the work that must be done before an estimate means something."""
_SETTLED_JOBS = 20
"""Jobs that mean something, too, however small a part they are."""
_SETTLED_S = 3.0
"""Time that must have passed."""
_WINDOW_S = 30.0
"""The rate is taken over at least this time."""
_MARKS = 240
"""Marks of the past that are kept: one per half of a percent of a run is enough."""
_FEW_SLOTS = 8
"""Slots up to which jobs are laid out one by one; beyond that, rounds hardly matter."""
_LAID_OUT = 500
"""Jobs that are laid out at most; whole rounds of the others are added."""
_SPREAD = 0.01
"""Spread of lengths, as a share of their square, from which on a line is fitted through them."""
_RAMP = 3
"""Run times of a job after which the rate of a run is that of its jobs at once."""
_RECENT = 20
"""Moments of which the usual number of jobs at once is taken: three of four have no more."""
_NEARLY = 0.95
"""Part at which a job stays that takes longer than expected."""
_FIRST_PART = 0.02
"""Part that the service must report before its pace is believed."""


class Load(NamedTuple):
    """Amount of work: jobs.

    Attributes:
        jobs: Number of jobs whose length is known or can be expected.
        media_s: Sum of these lengths.
        unsized: Number of the other jobs.
    """

    jobs: float = 0.0
    media_s: float = 0.0
    unsized: float = 0.0

    def plus(self, other: Load, times: float = 1.0) -> Load:
        """Return the sum with another load."""
        jobs, media_s, unsized = other
        return Load(
            self.jobs + times * jobs, self.media_s + times * media_s, self.unsized + times * unsized
        )

    @property
    def number(self) -> float:
        """Number of all jobs."""
        return self.jobs + self.unsized

    @staticmethod
    def of(media_s: float | None) -> Load:
        """Return the load of one job."""
        return _UNSIZED if media_s is None else Load(1.0, media_s)


_UNSIZED = Load(unsized=1.0)


class Underway(NamedTuple):
    """A job under way.

    Attributes:
        load: Its work.
        sent_s: Time since it was sent.
        ran_s: Time since it was seen to run, or None.
        part: Part that is done, as the service says, or None.
        pace: Part that is done per second, as the service says, or None.
    """

    load: Load
    sent_s: float
    ran_s: float | None = None
    part: float | None = None
    pace: float | None = None


class RunTime:
    """Run times seen: a line by length, and a mean for jobs of unknown length."""

    def __init__(self) -> None:
        self._n = self._w = self._r = self._ww = self._wr = 0.0
        self._unsized_n = self._unsized_r = 0.0

    def learn(self, load: Load, ran_s: float) -> None:
        """Add the run time of a job."""
        if load.unsized:
            self._unsized_n = self._unsized_n * _MEMORY + 1
            self._unsized_r = self._unsized_r * _MEMORY + ran_s
            return
        w = load.media_s
        self._n = self._n * _MEMORY + 1
        self._w = self._w * _MEMORY + w
        self._r = self._r * _MEMORY + ran_s
        self._ww = self._ww * _MEMORY + w * w
        self._wr = self._wr * _MEMORY + w * ran_s

    @property
    def is_empty(self) -> bool:
        """True before any job has taken any time."""
        return self._r + self._unsized_r <= 0

    def _line(self) -> tuple[float, float]:
        """Return seconds per job and per second of media, for jobs of known length."""
        if self._r <= 0:
            return self._unsized_r / self._unsized_n, 0.0
        if self._w <= 0:
            return self._r / self._n, 0.0
        spread = self._n * self._ww - self._w**2
        slope = self._r / self._w
        if spread > _SPREAD * self._w**2:
            slope = min(max((self._n * self._wr - self._w * self._r) / spread, 0.0), slope)
        return max(self._r - slope * self._w, 0.0) / self._n, slope

    def of(self, load: Load) -> float | None:
        """Return the expected run time of all jobs of a load, or None if none was seen."""
        if self.is_empty:
            return None
        per_job, per_media_s = self._line()
        if self._unsized_r > 0:
            per_unsized = self._unsized_r / self._unsized_n
        else:
            per_unsized = self._r / self._n
        return per_job * load.jobs + per_media_s * load.media_s + per_unsized * load.unsized


class Eta:
    """Estimates the time left."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._done = Load()
        self._ended = 0
        self._seen_running = 0
        self._run = RunTime()
        self._whole = RunTime()  # from sending to the end, for jobs that are not seen to run
        self._marks: deque[tuple[float, Load]] = deque(maxlen=_MARKS)
        self._at_once: deque[tuple[float, int]] = deque(maxlen=_RECENT)

    def begin(self, now: float) -> None:
        """Note that work began; only the first call counts."""
        if self._began_at is None:
            self._began_at = now

    def end(self, load: Load, took_s: float, ran_s: float | None) -> None:
        """Note that a job has ended which the service worked on.

        A job that was refused does not count as work done: it says nothing about the others.

        Args:
            load: Its work.
            took_s: Time since it was sent.
            ran_s: Time that it ran, or None if unknown.
        """
        self._done = self._done.plus(load)
        self._ended += 1
        self._whole.learn(load, took_s)
        if ran_s is not None:
            self._seen_running += 1
            self._run.learn(load, ran_s)

    @property
    def _sees_running(self) -> bool:
        return 2 * self._seen_running >= self._ended

    def part_of(self, job: Underway) -> tuple[float, bool]:
        """Return the part of a job that is done, and whether the service said so."""
        if job.part is not None:
            return job.part, True
        expected_s, spent_s = self._run.of(job.load), job.ran_s
        if spent_s is None and not self._sees_running:
            expected_s, spent_s = self._whole.of(job.load), job.sent_s
        if not expected_s or spent_s is None:
            return 0.0, False
        return min(spent_s / expected_s, _NEARLY), False

    def left_of(self, job: Underway) -> float | None:
        """Return the time that a job still needs, or None if unknown."""
        part, is_said = self.part_of(job)
        spent_s, expected_s = job.ran_s or 0.0, self._run.of(job.load)
        if is_said and job.pace:
            return (1 - part) / job.pace
        if is_said and not expected_s:
            return spent_s * (1 - part) / part if part >= _FIRST_PART else None
        if job.ran_s is None or not expected_s:
            return None
        return expected_s * (1 - part) if part < _NEARLY else spent_s * (1 - _NEARLY)

    def progress(self, here: Sequence[Underway]) -> Load:
        """Return the work that is done, with what is done of the jobs under way."""
        progress = self._done
        for job in here:
            part, _ = self.part_of(job)
            if part:
                progress = progress.plus(job.load, part)
        return progress

    def left_s(self, now: float, waiting: Load, here: Sequence[Underway]) -> float | None:
        """Return the seconds until the last job ends, or None if that cannot be said yet.

        Args:
            now: Time.
            waiting: Work that is not under way.
            here: Jobs under way.
        """
        if self._began_at is None or now - self._began_at < _SETTLED_S:
            return None
        if not waiting.number and not here:
            return 0.0
        running = [job for job in here if job.ran_s is not None]
        step_s = max((now - self._began_at) / _MARKS, 1.0)
        if not self._at_once or now - self._at_once[-1][0] >= step_s:
            self._at_once.append((now, len(running)))
        progress = self.progress(here)
        whole = self._done.plus(waiting)
        for job in here:
            whole = whole.plus(job.load)
        done, total = self._amount(progress), self._amount(whole)
        if done < _SETTLED_PART * total and self._ended < _SETTLED_JOBS:
            return None
        rate = self._rate(now, progress, step_s)
        if rate <= 0:
            return None
        bounds = [left for job in running if (left := self.left_of(job)) is not None]
        if waiting.number or len(running) < len(here):
            queued = [job.load for job in here if job.ran_s is None]
            age_s = now - self._began_at
            bounds += self._queue_s(age_s, (total - done, rate), running, (queued, waiting))
        return max(bounds, default=(total - done) / rate)

    def _queue_s(
        self,
        age_s: float,
        steady: tuple[float, float],
        running: Sequence[Underway],
        queue: tuple[Sequence[Load], Load],
    ) -> list[float]:
        """Return bounds for the end of the jobs that do not run yet.

        Args:
            age_s: Time since work began.
            steady: Work that is left, and rate.
            running: Jobs that run.
            queue: The jobs that come next, and the sum of those after them.
        """
        left, rate = steady
        queued, waiting = queue
        slots = self._slots(rate)
        known = [self._expected_s(load, running) for load in queued]
        mean = Load(*(value / (waiting.number or 1.0) for value in waiting))
        each_s = self._expected_s(mean, running)
        if each_s is None or not slots or not self._sees_running:
            return [left / rate]
        next_s = [expected_s or each_s for expected_s in known]
        ends = sorted(self.left_of(job) or each_s for job in running)
        if slots <= _FEW_SLOTS and len(running) <= 2 * _FEW_SLOTS:
            return [_laid_out(ends, slots, next_s, (round(waiting.number), each_s))]
        number = len(next_s) + round(waiting.number)
        each_s = (sum(next_s) + each_s * waiting.number) / (number or 1)
        if age_s < _RAMP * each_s and not self._run.is_empty:
            rate = max(rate, len(running))
        # As many jobs at once as now: each place takes the next one when its job has ended.
        ends = [0.0] * (self._usually_running - len(ends)) + ends
        rounds, place = divmod(max(number - 1, 0), len(ends))
        return [left / rate, ends[place] + (rounds + 1) * each_s]

    @property
    def _measure(self) -> RunTime:
        return self._run if self._sees_running and not self._run.is_empty else self._whole

    def _amount(self, load: Load) -> float:
        """Return a load as one number: its run time, or before any is known, its media."""
        return self._measure.of(load) or load.media_s or load.number

    def _rate(self, now: float, progress: Load, step_s: float) -> float:
        """Return the work done per second since the middle of the time that has passed."""
        began_at = self._began_at or 0.0
        window_s = max((now - began_at) / 2, _WINDOW_S)
        since, before = began_at, Load()
        for at, load in self._marks:
            if at > now - window_s:
                break
            since, before = at, load
        if not self._marks or now - self._marks[-1][0] >= step_s:
            self._marks.append((now, progress))
        span_s = now - since
        return (self._amount(progress) - self._amount(before)) / span_s if span_s > 0 else 0.0

    @property
    def _usually_running(self) -> int:
        seen = sorted(running for _, running in self._at_once)
        return seen[3 * len(seen) // 4] if seen else 0

    def _slots(self, rate: float) -> int:
        """Return how many jobs the service runs at once; 0 if none was seen to run.

        Work is measured in run time, so its rate is that number (Little's law). Jobs that failed
        early raise the rate, and ends that are seen late raise the number of jobs that seem to run;
        so the smaller one is right.
        """
        usual = self._usually_running
        return usual if self._run.is_empty or not usual else max(min(round(rate), usual), 1)

    def _expected_s(self, load: Load, running: Sequence[Underway]) -> float | None:
        """Return the run time of a job: as learned, else as the paces of those that run tell."""
        expected_s = self._run.of(load)
        if expected_s is not None:
            return expected_s
        whole = [
            ((job.ran_s or 0.0) + left_s) / (job.load.media_s or 1.0)
            for job in running
            if (left_s := self.left_of(job)) is not None
        ]
        return sum(whole) / len(whole) * (load.media_s or 1.0) if whole else None


def _laid_out(
    ends: Sequence[float], slots: int, next_s: Sequence[float], rest: tuple[int, float]
) -> float:
    """Return when the last job ends, on slots that take the next job when theirs has ended.

    Args:
        ends: Time left of the jobs that run, ascending.
        slots: Number of slots.
        next_s: Run times of the jobs that come next.
        rest: Number and run time of the jobs after them.
    """
    places = [0.0] * slots
    for run_s in (*reversed(ends), *next_s):
        heapq.heapreplace(places, places[0] + run_s)
    number, each_s = rest
    rounds = max(number - _LAID_OUT, 0) // slots
    for _ in range(number - rounds * slots):
        heapq.heapreplace(places, places[0] + each_s)
    return max(places) + rounds * each_s
