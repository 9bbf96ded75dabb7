"""Circuit breaker of the submit path: how many jobs may leave while the service is failing."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from orchestrator.runner.settings import RunnerSettings

OPENS_AFTER = 5
"""Failures in a row that stop sending."""


class _Circuit(Enum):
    CLOSED = "closed"
    OPEN = "open"
    TRIAL_DUE = "trial due"
    TRIAL_OUT = "trial out"


class CircuitBreaker:
    """Counts failed POSTs in a row. After too many, sending stops until a probe succeeds.

    The probe alone proves little: a service may list jobs and yet fail each new one. So after the
    probe a single job goes, and only its answer lets the others follow.

    Args:
        settings: Backoff bounds.
        rng: Source of jitter.
    """

    def __init__(self, settings: RunnerSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._circuit = _Circuit.CLOSED
        self._failures = 0
        self._trips = 0
        self.reason = ""
        """Error of the last request that failed."""

    @property
    def is_open(self) -> bool:
        """True if only a probe may be sent."""
        return self._circuit is _Circuit.OPEN

    @property
    def is_closed(self) -> bool:
        """True if sending works, as far as is known."""
        return self._circuit is _Circuit.CLOSED

    @property
    def at_most(self) -> int:
        """Number of jobs that may be sent now."""
        if self._circuit is _Circuit.CLOSED:
            return sys.maxsize
        return 1 if self._circuit is _Circuit.TRIAL_DUE else 0

    def sent(self) -> None:
        """Note that jobs leave; if a trial was due, this is it."""
        if self._circuit is _Circuit.TRIAL_DUE:
            self._circuit = _Circuit.TRIAL_OUT

    def withdrawn(self) -> None:
        """Note that a job was called back before it was sent; if it was the trial, one is due."""
        if self._circuit is _Circuit.TRIAL_OUT:
            self._circuit = _Circuit.TRIAL_DUE

    def failed(self, reason: str = "") -> None:
        """Note one more request without an answer, or with a server fault."""
        self._failures += 1
        self.reason = reason
        if self._circuit is not _Circuit.CLOSED or self._failures >= OPENS_AFTER:
            self._circuit = _Circuit.OPEN

    def probed(self) -> None:
        """Note that a probe succeeded: one job may try."""
        if self._circuit is _Circuit.OPEN:
            self._circuit = _Circuit.TRIAL_DUE

    def succeeded(self) -> None:
        """Note that the service answered a POST."""
        self._circuit = _Circuit.CLOSED
        self._failures = 0
        self._trips = 0

    def next_probe_in_s(self) -> float:
        """Return the wait before the next probe; it grows with each probe that fails."""
        self._trips += 1
        longest_s = max(self._settings.initial_s, 1.0) * 2.0 ** min(self._trips - 1, 30)
        bound_s = min(self._settings.cap_s, longest_s)
        # At least half of the bound: a probe right after the last one proves nothing new.
        return self._rng.uniform(bound_s / 2, bound_s)
