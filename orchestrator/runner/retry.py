"""Error and attempt in, decision out. Nothing here waits, and nothing here asks for the time.

Two levels of retry exist, and only the outer one is decided here. Inside one attempt the client may try a connection again, because
nothing was sent. Across attempts a job goes back to the ready queue with a time before which it must not go; it holds no slot meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

    from orchestrator.runner.settings import EngineSettings


def backoff_s(
    settings: EngineSettings, tries: int, rng: random.Random, floor_s: float = 0.0
) -> float:
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
