"""Pace of a run over time, for its report: submits, those throttled, and the rate limit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from orchestrator.domain.events import JobSending, RateChanged, RunStarted, SubmitThrottled
from orchestrator.domain.time_series import TimeSeries

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Clock


def pace_series() -> TimeSeries:
    """Return an empty series: submits sent, those throttled, and the lowest rate in force."""
    return TimeSeries(("sent", "throttled"), ("rate_per_s",))


class Pace:
    """Receives the events of a run, and keeps its pace; each run begins a new series.

    Args:
        clock: Time.
        rate_per_s: Returns the rate limit in force.
    """

    def __init__(self, clock: Clock, rate_per_s: Callable[[], float]) -> None:
        self._clock = clock
        self._rate_per_s = rate_per_s
        self._series = pace_series()
        self._noted_at = -math.inf

    def emit(self, event: Event) -> None:
        """Take one event."""
        match event:
            case RunStarted():
                self._series = pace_series()
            case JobSending():
                self._series.add(self._clock.now(), "sent")
                if self._clock.monotonic() >= self._noted_at + self._series.step_s:
                    self.note_rate()
            case SubmitThrottled():
                self._series.add(self._clock.now(), "throttled")
            case RateChanged():
                self.note_rate()
            case _:
                pass

    def note_rate(self) -> None:
        """Note the rate in force; between two changes, too, so that a steady one is known."""
        self._noted_at = self._clock.monotonic()
        self._series.add(self._clock.now(), "rate_per_s", round(self._rate_per_s(), 3))

    def as_dict(self) -> dict[str, Any] | None:
        """Return the series, ready for JSON; None if nothing was noted."""
        return self._series.as_dict()
