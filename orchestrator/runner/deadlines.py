"""Stop a run when its deadline has passed or its window closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import Interruption
from orchestrator.reporting.row import instant

if TYPE_CHECKING:
    from orchestrator.domain.ports import Clock
    from orchestrator.runner.shutdown import Shutdown

_CLOCK_STEP_S = 60.0  # how late a closing window may be noticed if the clock is set in between


class OpenHours(Protocol):
    """The hours in which jobs may be sent."""

    def is_open(self, now: float) -> bool:
        """Return True if jobs may be sent at this instant."""
        ...

    def next_change(self, now: float) -> float:
        """Return the first instant after ``now`` at which that changes."""
        ...


async def watch_deadline(clock: Clock, deadline_s: float | None, shutdown: Shutdown) -> None:
    """Stop the run when it has lasted ``deadline_s`` seconds."""
    if deadline_s is not None:
        await clock.sleep(deadline_s)
        shutdown.stop(Interruption("deadline", f"the deadline of {deadline_s:g} s has passed"))


async def watch_window(clock: Clock, window: OpenHours | None, shutdown: Shutdown) -> None:
    """Stop the run when its window closes, or at once if it is closed."""
    while window is not None and window.is_open(clock.now()):
        # In short steps: the machine's clock may be set, and laptops sleep.
        left_s = window.next_change(clock.now()) - clock.now()
        await clock.sleep(min(max(left_s, 0.0), _CLOCK_STEP_S))
    if window is not None:
        opens_at = instant(window.next_change(clock.now()))
        reason = f"the window {window} is closed; it opens at {opens_at}"
        shutdown.stop(Interruption("window", reason))
