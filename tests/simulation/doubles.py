"""Test doubles: a limiter, a sink that records events, and the replacement of one method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.events import Event
    from orchestrator.testing.loop import LoopClock


class VirtualLimiter:
    """A limiter that gives permits at an even pace in the loop's time; it does not adapt.

    Args:
        clock: The loop's clock.
        rate_per_s: Permits per second.
    """

    def __init__(self, clock: LoopClock, rate_per_s: float) -> None:
        self._clock = clock
        self.rate_per_s = rate_per_s
        self._next_at = 0.0

    async def acquire(self) -> None:
        while not self.try_acquire():
            await self._clock.sleep(max(self._next_at - self._clock.monotonic(), 1e-6))

    def try_acquire(self) -> bool:
        now = self._clock.monotonic()
        if now < self._next_at:
            return False
        self._next_at = max(now, self._next_at) + 1 / self.rate_per_s
        return True

    def throttled(self, retry_after_s: float | None = None) -> None:
        self._next_at = max(self._next_at, self._clock.monotonic() + (retry_after_s or 0.5))

    def accepted(self) -> None:
        pass

    def snapshot(self) -> bytes:
        return b""

    def restore(self, raw: bytes | None) -> None:
        pass


@dataclass
class Recorder:
    """A sink that keeps every event."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)


def replace_method(target: object, name: str, method: Callable[..., object]) -> None:
    """Replace a method of one object."""
    setattr(target, name, method)


async def skip_sync(_act: Callable[[], None]) -> None:
    """``Ports.off_loop`` without a sync of the report.

    Tests run for days in virtual time, and a sync takes real time. What a power cut takes is drawn.
    """
