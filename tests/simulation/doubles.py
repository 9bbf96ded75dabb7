"""Small parts that stand in for larger ones: a limiter without a past, and a sink that remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.domain.events import Event
    from orchestrator.testing.loop import LoopClock


class VirtualLimiter:
    """One permit after the other, evenly, over the loop's time.

    Args:
        clock: Time.
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
    """Keeps every event."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)
