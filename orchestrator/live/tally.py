"""Counts of a run as it goes, from its events alone."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from orchestrator.domain.events import (
    Event,
    JobAccepted,
    JobAdopted,
    JobEnded,
    JobEvent,
    JobInDoubt,
    JobMoved,
    JobProvenAbsent,
    JobRetried,
    JobReturned,
    JobSending,
    JobsPlanned,
    PlanFinished,
    RunStarted,
)
from orchestrator.domain.states import JobState

if TYPE_CHECKING:
    from orchestrator.domain.ports import Clock
    from orchestrator.domain.spec import JobKey

_RATE_WINDOW_S = 60.0
"""The rate is that of the last minute: long enough to be steady, short enough to be current."""


class Tally:
    """Jobs of a run by state, the rate at which they end, and the time left.

    Args:
        clock: Time, for the rate.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        """Reset all counts, because a new run begins."""
        self._where: dict[JobKey, JobState] = {}  # jobs that are neither waiting nor ended
        self._ends: deque[float] = deque()
        self._began_at = self._clock.monotonic()
        self._to_refuse = 0  # jobs that cannot be requested, and have not ended
        self._from_before = 0  # resumed jobs without news since
        self.waiting = 0
        self.ended: dict[JobState, int] = {}
        self.done_before = 0
        self.ended_before = 0
        self.total = 0
        self.is_planned = False

    def emit(self, event: Event) -> None:
        """Take one event."""
        self._note_news(event)
        match event:
            case RunStarted():
                self._begin()
            case JobsPlanned():
                self.total += event.new + event.open + event.done + event.ended + event.refused
                self._to_refuse += event.refused
                self.waiting += event.new
                self.done_before += event.done
                self.ended_before += event.ended
                self._from_before += event.open
            case PlanFinished():
                self.is_planned = True
            case JobSending():
                self.waiting -= 1
                self._where[event.key] = JobState.SUBMITTING
            case JobAccepted() | JobAdopted():
                self._where[event.key] = JobState.SUBMITTED
            case JobInDoubt():
                self._where[event.key] = JobState.IN_DOUBT
            case JobMoved():
                self._where[event.key] = event.state
            case JobReturned() | JobRetried() | JobProvenAbsent():
                self._where.pop(event.key, None)
                self.waiting += 1
            case JobEnded():
                self._end(event)
            case _:
                pass

    def _note_news(self, event: Event) -> None:
        """Note that a resumed job has news: its first event is not a submit."""
        if self._to_refuse and isinstance(event, JobEnded) and event.state is JobState.REJECTED:
            self._to_refuse -= 1
            return
        if (
            isinstance(event, JobEvent)
            and not isinstance(event, JobSending)
            and event.key not in self._where
            and self._from_before
        ):
            self._from_before -= 1

    def _end(self, event: JobEnded) -> None:
        self._where.pop(event.key, None)
        self.ended[event.state] = self.ended.get(event.state, 0) + 1
        now = self._clock.monotonic()
        self._ends.append(now)
        while self._ends[0] < now - _RATE_WINDOW_S:
            self._ends.popleft()

    def of(self, state: JobState) -> int:
        """Return how many jobs are in this state now, with those that ended in this process."""
        if state is JobState.PLANNED:
            return self.waiting
        silent = self._from_before if state is JobState.SUBMITTED else 0
        here = sum(where is state for where in self._where.values())
        return here + self.ended.get(state, 0) + silent

    @property
    def under_way(self) -> int:
        """Jobs that are neither waiting nor ended."""
        return len(self._where) + self._from_before

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

    @property
    def eta_s(self) -> float | None:
        """Seconds until the last known job ends at the present rate, or None if unknown."""
        rate = self.rate_per_s
        left = self.waiting + self.under_way
        return left / rate if rate and self.is_planned else None
