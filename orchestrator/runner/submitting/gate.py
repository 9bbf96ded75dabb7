"""Decide if jobs may leave now: the circuit breaker, and the pauses that the service asked for."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from orchestrator.domain.events import SubmitPaused, SubmitResumed
from orchestrator.runner.submitting.circuit_breaker import CircuitBreaker

if TYPE_CHECKING:
    from orchestrator.runner.ports import Ports


class Gate:
    """Stands between dispatcher and submitter, and wakes the dispatcher.

    Args:
        ports: The ports.

    Attributes:
        breaker: Opens when the service stops answering.
    """

    def __init__(self, ports: Ports) -> None:
        self.breaker = CircuitBreaker(ports.settings, ports.rng)
        self._clock = ports.clock
        self._sink = ports.sink
        self._wake = asyncio.Event()
        self._paused_until = 0.0
        self._pause_reason = ""
        self._asked_until = 0.0  # the limiter is silent until then, at the service's request
        self._asked_reason = ""
        self._is_paused = False  # a pause was announced
        self._is_down = False  # an outage was announced

    def wake(self) -> None:
        """Have the dispatcher look again."""
        self._wake.set()

    def forget_wake(self) -> None:
        """Clear the wake-up."""
        self._wake.clear()

    async def wait(self, delay_s: float | None) -> None:
        """Wait until woken, or for ``delay_s`` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if delay_s is None else max(delay_s, 0.001)):
                await self._wake.wait()

    def pause(self, delay_s: float, reason: str) -> None:
        """Let nothing leave for ``delay_s`` seconds."""
        until = self._clock.monotonic() + delay_s
        if until > self._paused_until:
            self._paused_until = until
            self._is_paused = True
            self._pause_reason = reason
            self._sink.emit(SubmitPaused(reason, delay_s))
            self._wake.set()

    def pause_left_s(self) -> float:
        """Return the rest of the pause in seconds; announce its end once."""
        left_s = max(self._paused_until - self._clock.monotonic(), 0.0)
        if self._is_paused and not left_s:
            self._is_paused = False
            self._sink.emit(SubmitResumed("the pause has ended"))
        return left_s

    def asked_to_wait(self, delay_s: float | None, reason: str) -> None:
        """Note that the service asked for silence. The limiter keeps it; this only explains it."""
        if delay_s is not None:
            self._asked_until = self._clock.monotonic() + delay_s
            self._asked_reason = reason

    def waits_for(self) -> list[str]:
        """Return why no job may leave now, in words."""
        if not self.breaker.is_closed:
            return [f"the service, which does not answer ({self.breaker.reason})"]
        if left_s := self.pause_left_s():
            return [f"the end of a pause, in {left_s:.0f} s ({self._pause_reason})"]
        if (left_s := self._asked_until - self._clock.monotonic()) > 0:
            return [f"the {left_s:.0f} s that the service asked to wait ({self._asked_reason})"]
        return []

    def announce_outage(self) -> None:
        """Say once that the service does not answer."""
        if not self._is_down:
            self._is_down = True
            reason = f"the service does not answer; probing until it does ({self.breaker.reason})"
            self._sink.emit(SubmitPaused(reason, None))

    def announce_recovery(self) -> None:
        """Say once that the service answers again."""
        if self._is_down and self.breaker.is_closed:
            self._is_down = False
            self._sink.emit(SubmitResumed("the service answers again"))
