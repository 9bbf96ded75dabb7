"""Error and attempt in, decision out. Nothing here waits, and nothing here asks for the time.

Two levels of retry exist, and only the outer one is decided here. Inside one attempt the client may try a connection again, because
nothing was sent. Across attempts a job goes back to the ready queue with a time before which it must not go; it holds no slot meanwhile.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from orchestrator.settings import EngineSettings


def backoff_s(settings: EngineSettings, tries: int, rng: random.Random, floor_s: float = 0.0) -> float:
    """How long to wait before try ``tries + 1``: drawn uniformly below the capped bound, so that jitter survives at the cap.

    Args:
        settings: Where ``initial_s`` and ``cap_s`` come from.
        tries: Tries so far, from 1.
        rng: Source of the jitter.
        floor_s: The service asked for at least this (``Retry-After``).
    """
    bound = min(settings.cap_s, settings.initial_s * 2.0 ** min(tries - 1, 30))
    return floor_s + rng.uniform(0.0, bound)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a job: ``again_at`` is the instant of its next try, or None to give up, for ``reason``."""

    again_at: float | None
    reason: str = ""


def decide(settings: EngineSettings, attempts: int, now: float, rng: random.Random) -> Decision:
    """Whether a job whose last attempt did not work is tried again, and when.

    Args:
        settings: Bounds.
        attempts: POSTs of the job that may have reached the service.
        now: Wall time.
        rng: Source of the jitter.
    """
    if attempts >= settings.attempts:
        return Decision(None, f"gave up after {attempts} attempts (retry.attempts)")
    return Decision(now + backoff_s(settings, max(attempts, 1), rng))


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
        bound = min(self._settings.cap_s, max(self._settings.initial_s, 1.0) * 2.0 ** min(self._trips - 1, 30))
        # At least half of the bound: a probe that comes at once tells nothing.
        return self._rng.uniform(bound / 2, bound)
