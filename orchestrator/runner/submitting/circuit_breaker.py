"""The circuit breaker of the submit path: how many jobs may leave while the service is failing. Pure."""

from __future__ import annotations

import sys
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from orchestrator.runner.settings import EngineSettings


class _Circuit(Enum):
    CLOSED = "closed"
    OPEN = "open"
    TRIAL_DUE = "trial due"
    TRIAL_OUT = "trial out"


class Breaker:
    """Counts failures of sending in a row; after too many, sending stops until a probe gets through, and then a single job.

    The probe alone proves little: a service may list jobs and yet fail each new one. So after it one job goes, and only its answer lets
    the others follow.
    """

    def __init__(self, settings: EngineSettings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._circuit = _Circuit.CLOSED
        self._failures = 0
        self._trips = 0
        self.reason = ""
        """What the last request that got no answer ended with."""

    @property
    def is_open(self) -> bool:
        """Nothing should be sent but a probe."""
        return self._circuit is _Circuit.OPEN

    @property
    def is_closed(self) -> bool:
        """Sending works, as far as is known."""
        return self._circuit is _Circuit.CLOSED

    @property
    def at_most(self) -> int:
        """How many jobs may be sent now."""
        if self._circuit is _Circuit.CLOSED:
            return sys.maxsize
        return 1 if self._circuit is _Circuit.TRIAL_DUE else 0

    def sent(self) -> None:
        """Jobs leave: if one is a trial, it is on its way now."""
        if self._circuit is _Circuit.TRIAL_DUE:
            self._circuit = _Circuit.TRIAL_OUT

    def withdrawn(self) -> None:
        """A job that was to leave was called back: if it was the trial, another one may go."""
        if self._circuit is _Circuit.TRIAL_OUT:
            self._circuit = _Circuit.TRIAL_DUE

    def failed(self, reason: str = "") -> None:
        """One more request got no answer, or a server fault."""
        self._failures += 1
        self.reason = reason
        if self._circuit is not _Circuit.CLOSED or self._failures >= self._settings.breaker_after:
            self._circuit = _Circuit.OPEN

    def probed(self) -> None:
        """A probe got through: one job may try."""
        if self._circuit is _Circuit.OPEN:
            self._circuit = _Circuit.TRIAL_DUE

    def succeeded(self) -> None:
        """The service answered a job."""
        self._circuit = _Circuit.CLOSED
        self._failures = 0
        self._trips = 0

    def next_probe_in_s(self) -> float:
        """How long to wait before the next probe; grows with each one that fails."""
        self._trips += 1
        bound = min(
            self._settings.cap_s,
            max(self._settings.initial_s, 1.0) * 2.0 ** min(self._trips - 1, 30),
        )
        # At least half of the bound: a probe that comes at once tells nothing.
        return self._rng.uniform(bound / 2, bound)
