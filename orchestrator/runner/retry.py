"""Decide on retries: attempts in, decision out. Pure; ``now`` and the randomness are arguments.

There are two levels of retry, and only the outer one is decided here. Inside one attempt the client
may try a connection again, because nothing was sent. Across attempts a job goes back to the ready
queue with a time before which it must not go; it holds no slot in between.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    import random

    from orchestrator.runner.settings import RunnerSettings


def backoff_s(
    settings: RunnerSettings, tries: int, rng: random.Random, floor_s: float = 0.0
) -> float:
    """Return the wait before try ``tries + 1`` in seconds.

    It is drawn uniformly below the capped bound, so that jitter survives at the cap.

    Args:
        settings: Source of ``initial_s`` and ``cap_s``.
        tries: Tries made, from 1.
        rng: Source of jitter.
        floor_s: The service asked for at least this (``Retry-After``).
    """
    bound = min(settings.cap_s, settings.initial_s * 2.0 ** min(tries - 1, 30))
    return floor_s + rng.uniform(0.0, bound)


def is_retryable(error: BaseException) -> bool:
    """Return True if the same call may succeed later."""
    return isinstance(error, OrchestratorError) and error.retryable


@dataclass(frozen=True, slots=True)
class Decision:
    """Instant of the next try, or None to give up for ``reason``."""

    again_at: float | None
    reason: str = ""


def decide(settings: RunnerSettings, attempts: int, now: float, rng: random.Random) -> Decision:
    """Decide if a job whose last attempt failed is tried again, and when.

    Args:
        settings: Bounds.
        attempts: POSTs of the job that may have reached the service.
        now: Wall time.
        rng: Source of jitter.
    """
    if attempts >= settings.attempts:
        return Decision(None, f"gave up after {attempts} attempts (retry.attempts)")
    return Decision(now + backoff_s(settings, max(attempts, 1), rng))
