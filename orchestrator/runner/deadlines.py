"""Stop a run when its deadline has passed or its window closes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orchestrator.errors import Interruption
from orchestrator.reporting.report_file import instant

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.runner.ports import Parts


_CLOCK_STEP_S = 60.0  # how late a closing window may be noticed if the clock is set meanwhile


class OpenHours(Protocol):
    """When jobs may be sent."""

    def is_open(self, now: float) -> bool:
        """Whether they may at this instant."""
        ...

    def next_change(self, now: float) -> float:
        """The first instant after ``now`` at which that changes."""
        ...


async def watch_deadline(
    parts: Parts, deadline_s: float | None, stop: Callable[[Interruption], None]
) -> None:
    """Stop the run when it has lasted ``deadline_s``."""
    if deadline_s is not None:
        await parts.clock.sleep(deadline_s)
        stop(Interruption("deadline", f"the deadline of {deadline_s:g} s is reached"))


async def watch_window(
    parts: Parts, window: OpenHours | None, stop: Callable[[Interruption], None]
) -> None:
    """Stop the run when its window closes, or at once if it is closed."""
    clock = parts.clock
    while window is not None and window.is_open(clock.now()):
        # In short steps: the machine's clock may be set, and laptops sleep.
        await clock.sleep(
            min(max(window.next_change(clock.now()) - clock.now(), 0.0), _CLOCK_STEP_S)
        )
    if window is not None:
        opens_at = instant(window.next_change(clock.now()))
        stop(Interruption("window", f"the window {window} is closed; it opens at {opens_at}"))
