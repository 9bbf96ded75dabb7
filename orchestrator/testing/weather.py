"""How bad it is at the fake service: what one request may meet, and what lasts for a while."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from orchestrator.errors import (
    ApiAnswer,
    ConnectFailed,
    OrchestratorError,
    ProtocolError,
    QueueUnavailable,
    Rejected,
    SendInDoubt,
    ServerFault,
    Throttled,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from orchestrator.domain.spec import JobSpec


class Fault(Enum):
    """What can go wrong with one POST."""

    NONE = "none"
    NO_CONNECTION = "no connection"
    ACCEPT_THEN_DROP = "accepted, then the connection drops"
    ACCEPT_THEN_500 = "accepted, then answered 500"
    ACCEPT_THEN_GARBAGE = "accepted, then answered with half an XML"
    DROP = "dropped before it was accepted"
    REFUSE_500 = "answered 500, not accepted"
    REFUSE_503 = "answered 503 ServiceUnavailable, not accepted"
    THROTTLE = "answered 429"
    QUEUE_FULL = "answered QueueSaturated"
    SLOW = "accepted, and answered just before the client gives up"
    HANG = "accepted, and no answer ever"
    HANG_LOST = "not accepted, and no answer ever"
    LATE = "accepted after the client gave up waiting"
    REJECT = "answered 400 InvalidArgument"


ACCEPTING = frozenset(
    {
        Fault.NONE,
        Fault.ACCEPT_THEN_DROP,
        Fault.ACCEPT_THEN_500,
        Fault.ACCEPT_THEN_GARBAGE,
        Fault.SLOW,
        Fault.HANG,
        Fault.LATE,
    }
)
"""The faults with which a job is made."""


def error_of(fault: Fault, rng: random.Random) -> OrchestratorError | None:
    """What the client makes of a fault; None if it has its answer."""
    match fault:
        case Fault.NO_CONNECTION:
            return ConnectFailed()
        case Fault.ACCEPT_THEN_DROP | Fault.DROP:
            return SendInDoubt()
        case Fault.ACCEPT_THEN_500 | Fault.REFUSE_500:
            return ServerFault(ApiAnswer(500, "InternalError", "we are sorry"))
        case Fault.REFUSE_503:
            return ServerFault(ApiAnswer(503, "ServiceUnavailable", "come back later"))
        case Fault.ACCEPT_THEN_GARBAGE:
            return ProtocolError("not XML", b"<Respon")
        case Fault.THROTTLE:
            return Throttled(
                ApiAnswer(429, "SlowDown", "too fast"), retry_after_s=rng.choice([None, 1.0])
            )
        case Fault.QUEUE_FULL:
            return QueueUnavailable(ApiAnswer(403, "QueueSaturated", "full"))
        case Fault.REJECT:
            return Rejected(ApiAnswer(400, "InvalidArgument", "no"))
        case _:
            return None


class Trouble(Enum):
    """What can be wrong with the whole service for a while."""

    QUEUE_FULL = "every POST is answered QueueSaturated"
    QUEUE_PAUSED = "every POST is answered QueuePaused, and jobs that wait are held"
    DOWN = "every request is answered 503, no job is made"
    CUT = "no connection can be made"


@dataclass(frozen=True, slots=True)
class Spell:
    """A trouble and when it lasts; instants are monotonic."""

    trouble: Trouble
    begins_at: float
    ends_at: float

    def is_on(self, now: float) -> bool:
        """Whether it lasts at this instant."""
        return self.begins_at <= now < self.ends_at

    def refusal(self, *, is_submit: bool) -> OrchestratorError | None:
        """What a request meets while it lasts; None if it passes."""
        match self.trouble:
            case Trouble.CUT:
                return ConnectFailed()
            case Trouble.DOWN:
                return ServerFault(ApiAnswer(503, "ServiceUnavailable", "come back later"))
            case Trouble.QUEUE_FULL:
                return (
                    QueueUnavailable(ApiAnswer(403, "QueueSaturated", "full"))
                    if is_submit
                    else None
                )
            case Trouble.QUEUE_PAUSED:
                return (
                    QueueUnavailable(ApiAnswer(403, "QueuePaused", "suspended"))
                    if is_submit
                    else None
                )


@dataclass(slots=True)
class Weather:
    """How bad it is.

    Attributes:
        faults: Weights of the faults of a POST.
        query_fails: Share of queries and lists that fail.
        job_fails: Share of jobs that fail for good.
        job_falters: Share of jobs that fail for a passing reason.
        latency_s: Longest time from sending to arrival, and back.
        reply_timeout_s: When the client gives up waiting.
        listing_lag_s: Longest time until an accepted job is listed.
        job_s: Longest time of one job.
        run_s: About how long the job of a spec runs instead, where that matters.
        concurrency: Jobs that run at once.
        spells: What is wrong with the whole service for a while.
    """

    faults: dict[Fault, float] = field(default_factory=lambda: {Fault.NONE: 1.0})
    query_fails: float = 0.0
    job_fails: float = 0.0
    job_falters: float = 0.0
    latency_s: float = 0.05
    reply_timeout_s: float = 10.0
    listing_lag_s: float = 0.0
    job_s: float = 20.0
    run_s: Callable[[JobSpec], float] | None = None
    concurrency: int = 4
    spells: tuple[Spell, ...] = ()

    def refusal(self, now: float, *, is_submit: bool) -> OrchestratorError | None:
        """What a request meets at this instant, whatever it asks; None if it passes."""
        for spell in self.spells:
            if spell.is_on(now) and (error := spell.refusal(is_submit=is_submit)) is not None:
                return error
        return None

    def bounds_of_run(self, spec: JobSpec) -> tuple[float, float]:
        """The shortest and the longest time that the job of a spec runs, seconds."""
        if self.run_s is None:
            return self.job_s / 4, self.job_s
        return 0.7 * self.run_s(spec), 1.3 * self.run_s(spec)

    def is_held(self, now: float) -> bool:
        """Whether jobs that wait are held back at this instant."""
        return any(
            spell.trouble is Trouble.QUEUE_PAUSED and spell.is_on(now) for spell in self.spells
        )
