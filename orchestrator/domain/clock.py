"""The one place that reads the real clock. Everything else takes ``ports.Clock``."""

from __future__ import annotations

import time


def since_boot() -> float:
    """Return seconds that never go back, and include those for which this machine slept."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Wall time in seconds since the epoch; may step when the machine's clock is set."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back; for durations and deadlines."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Let ``delay_s`` seconds pass."""
        import asyncio  # a fifth of what a worker process loads, and it never waits

        await asyncio.sleep(delay_s)
