"""Show that the run lives and how it is doing; keep the learned rates for the next run."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import orjson

from orchestrator.domain.events import RateChanged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.domain.ports import Limiter
    from orchestrator.runner.ports import Parts

_PULSE_WINDOW_S = 60.0  # the rate that is told is that of the last minute
PULSE = "pulse"
"""Under which name the ledger remembers how the run is doing, for ``orchestrator status``."""
_TOLD_CHANGE = 0.1  # a change of the rate by less than this share is not worth a word


class Pulse:
    """Shows that the run lives, and how it is doing; keeps the learned rates for the next run.

    Args:
        parts: The ports.
        ended: How many jobs have ended in this visit.
        checkpoint: Syncs the report.
    """

    def __init__(
        self, parts: Parts, ended: Callable[[], int], checkpoint: Callable[[], Awaitable[None]]
    ) -> None:
        self._parts = parts
        self._ended = ended
        self._checkpoint = checkpoint
        self._ends: deque[tuple[float, int]] = deque()
        self._told_rate = parts.submit_limiter.rate_per_s
        self._remembered: dict[str, bytes] = {}

    def _limiters(self) -> dict[str, Limiter]:
        parts = self._parts
        return {
            "rate.submit": parts.submit_limiter,
            "rate.query": parts.query_limiter,
            "rate.list": parts.list_limiter,
        }

    async def restore(self) -> None:
        """Begin at the rates that the last run ended with."""
        for name, limiter in self._limiters().items():
            limiter.restore(await self._parts.ledger.recall(name))
        self._told_rate = self._parts.submit_limiter.rate_per_s

    async def run(self) -> None:
        """Beat, for ever."""
        while True:
            await self._parts.clock.sleep(self._parts.settings.heartbeat_s)
            await self.beat()

    async def beat(self) -> None:
        """One sign of life."""
        now = self._parts.clock.now()
        await self._parts.ledger.heartbeat(now)
        await self._checkpoint()
        await self._remember(
            PULSE,
            orjson.dumps(
                {"at": now, "rate_per_s": self._rate_per_s(), "submit_per_s": self._tell_rate()}
            ),
        )
        for name, limiter in self._limiters().items():
            await self._remember(name, limiter.snapshot())

    async def _remember(self, name: str, value: bytes) -> None:
        if self._remembered.get(name) != value:
            self._remembered[name] = value
            await self._parts.ledger.remember(name, value)

    def _rate_per_s(self) -> float:
        now, ended = self._parts.clock.monotonic(), self._ended()
        self._ends.append((now, ended))
        while self._ends[0][0] < now - _PULSE_WINDOW_S:
            self._ends.popleft()
        began_at, before = self._ends[0]
        return round((ended - before) / (now - began_at), 3) if now > began_at else 0.0

    def _tell_rate(self) -> float:
        rate = self._parts.submit_limiter.rate_per_s
        if abs(rate - self._told_rate) > _TOLD_CHANGE * self._told_rate:
            reason = (
                "the service asks to slow down"
                if rate < self._told_rate
                else "the service takes more again"
            )
            self._parts.sink.emit(RateChanged(rate, reason))
            self._told_rate = rate
        return round(rate, 3)
