"""How fast a run sent and how often it was throttled, over time: a small series for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.domain.events import JobSending, RateChanged, RunStarted, SubmitThrottled
from orchestrator.domain.time_series import TimeSeries

if TYPE_CHECKING:
    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Clock


def pace_series() -> TimeSeries:
    """Return an empty series: submits sent, those throttled, and the lowest rate in force."""
    return TimeSeries(("sent", "throttled"), ("rate_per_s",))


class Pace:
    """Receives the events of a run, and keeps its pace; each run begins a new series.

    Args:
        clock: Time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._series = pace_series()

    def emit(self, event: Event) -> None:
        """Take one event."""
        match event:
            case RunStarted():
                self._series = pace_series()
            case JobSending():
                self._series.add(self._clock.now(), "sent")
            case SubmitThrottled():
                self._series.add(self._clock.now(), "throttled")
            case RateChanged():
                self.note_rate(event.rate_per_s)
            case _:
                pass

    def note_rate(self, rate_per_s: float) -> None:
        """Note the rate in force; between two changes, too, so that a steady one is known."""
        self._series.add(self._clock.now(), "rate_per_s", round(rate_per_s, 3))

    def as_dict(self) -> dict[str, Any] | None:
        """Return the series, ready for JSON; None if nothing was noted."""
        return self._series.as_dict()
