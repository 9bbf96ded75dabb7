"""Show in the ledger that a run is alive and how fast it is; keep the learned rates."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import orjson

from orchestrator.domain.events import RateChanged
from orchestrator.domain.run import PULSE

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.runner.ports import Ports
    from orchestrator.runner.routing import Routing
    from orchestrator.runner.settling.survey import Survey

_RATE_WINDOW_S = 60.0  # the rate shown is that of the last minute
_NOTEWORTHY = 0.1  # a smaller change of the rate, as a share, is not reported


class Heartbeat:
    """Beats while the run works.

    Args:
        ports: The ports.
        routing: Counts the jobs that ended, and syncs the report.
        survey: Notes up to when the service's jobs are known.
        progress: Returns what else a beat shows of the run, ready for JSON.
    """

    def __init__(
        self,
        ports: Ports,
        routing: Routing,
        survey: Survey,
        progress: Callable[[], object] = lambda: None,
    ) -> None:
        self._progress = progress
        self._ledger = ports.ledger
        self._clock = ports.clock
        self._sink = ports.sink
        self._interval_s = ports.settings.heartbeat_s
        self._submit_limiter = ports.submit_limiter
        self._limiters = {
            "rate.submit": ports.submit_limiter,
            "rate.query": ports.query_limiter,
            "rate.list": ports.list_limiter,
        }
        self._routing = routing
        self._survey = survey
        self._ends: deque[tuple[float, int]] = deque()
        self._reported_rate = ports.submit_limiter.rate_per_s
        self._remembered: dict[str, bytes] = {}

    async def restore(self) -> None:
        """Begin at the rates that the last run ended with."""
        for name, limiter in self._limiters.items():
            limiter.restore(await self._ledger.recall(name))
        self._reported_rate = self._submit_limiter.rate_per_s

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self._clock.sleep(self._interval_s)
            await self.beat()

    async def beat(self) -> None:
        """Beat once: renew the lease, sync the report, keep the rates."""
        now = self._clock.now()
        await self._ledger.heartbeat(now)
        await self._routing.checkpoint()
        await self._survey.checkpoint()
        beat = {
            "at": now,
            "rate_per_s": self._ended_per_s(),
            "submit_per_s": self._report_rate(),
            "progress": self._progress(),
        }
        await self._remember(PULSE, orjson.dumps(beat))
        for name, limiter in self._limiters.items():
            await self._remember(name, limiter.snapshot())

    async def _remember(self, name: str, value: bytes) -> None:
        if self._remembered.get(name) != value:
            self._remembered[name] = value
            await self._ledger.remember(name, value)

    def _ended_per_s(self) -> float | None:
        """Return how many jobs end per second; None at the first beat."""
        now, ended = self._clock.monotonic(), self._routing.ended
        self._ends.append((now, ended))
        while self._ends[0][0] < now - _RATE_WINDOW_S:
            self._ends.popleft()
        began_at, before = self._ends[0]
        return round((ended - before) / (now - began_at), 3) if now > began_at else None

    def _report_rate(self) -> float:
        rate = self._submit_limiter.rate_per_s
        if abs(rate - self._reported_rate) > _NOTEWORTHY * self._reported_rate:
            is_slower = rate < self._reported_rate
            reason = "the service is throttling" if is_slower else "the service accepts more again"
            self._sink.emit(RateChanged(rate, reason))
            self._reported_rate = rate
        return round(rate, 3)
