"""Say what a run waits for, once a minute, while nothing moves.

Each stage knows what keeps its jobs; this module asks all of them and knows when to ask.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain import events as ev
from orchestrator.domain.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.ports import Clock, EventSink

_EVERY_S = 60.0
_MOVES = (
    ev.JobsPlanned,
    ev.PlanFinished,
    ev.JobAccepted,
    ev.JobAdopted,
    ev.JobProvenAbsent,
    ev.JobMoved,
    ev.JobRetried,
    ev.JobEnded,
)
"""Events that bring a job closer to its end."""


class Watch:
    """Event sink that passes events on, and speaks up when none of them moves a job.

    Args:
        sink: Receives the events.
        clock: Time.
    """

    def __init__(self, sink: EventSink, clock: Clock) -> None:
        self._sink = sink
        self._clock = clock
        self._quiet_since = clock.monotonic()

    def emit(self, event: ev.Event) -> None:
        """Pass one event on."""
        if isinstance(event, _MOVES):
            self._quiet_since = self._clock.monotonic()
        self._sink.emit(event)

    async def run(self, reasons: Callable[[], list[str]]) -> None:
        """Report once a minute what the run waits for, until cancelled.

        Args:
            reasons: Returns what the stages wait for now.
        """
        self._quiet_since = self._clock.monotonic()
        while True:
            left_s = self._quiet_since + _EVERY_S - self._clock.monotonic()
            if left_s > 0:
                await self._clock.sleep(left_s)
                continue
            self._quiet_since = self._clock.monotonic()
            self._sink.emit(ev.Waiting(tuple(reasons()) or ("the end of this run",)))


def stems_reason(jobs: int) -> list[str]:
    """Return the reason for jobs that ended at the service, and that no other stage has."""
    return [f"the stems of {counted(jobs, 'finished job')}"] if jobs > 0 else []
