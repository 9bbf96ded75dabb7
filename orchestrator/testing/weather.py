"""Conditions at the fake service: faults of one request, and troubles that last for a while."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from orchestrator.errors import (
    ApiAnswer,
    BucketRefused,
    ConnectFailed,
    OrchestratorError,
    ProtocolError,
    QueueUnavailable,
    Rejected,
    SendInDoubt,
    ServerFault,
    Throttled,
    UnprovenAnswer,
)
from orchestrator.testing.oddities import Oddities

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from orchestrator.domain.spec import JobSpec, Place

FILMS = "films-1250000000"
"""A second bucket."""


class Fault(Enum):
    """Outcome of one POST."""

    NONE = "none"
    NO_CONNECTION = "no connection"
    ACCEPT_THEN_DROP = "accepted, then the connection drops"
    ACCEPT_THEN_500 = "accepted, then answered 500"
    ACCEPT_THEN_GARBAGE = "accepted, then answered with truncated XML"
    ACCEPT_THEN_BARE = "accepted, then answered with an error that the service did not write"
    BARE = "answered with an error that the service did not write, not accepted"
    DROP = "dropped before it was accepted"
    REFUSE_500 = "answered 500, not accepted"
    REFUSE_503 = "answered 503 ServiceUnavailable, not accepted"
    THROTTLE = "answered 429"
    QUEUE_FULL = "answered QueueSaturated"
    SLOW = "accepted, and answered just before the client times out"
    HANG = "accepted, but never answered"
    HANG_LOST = "not accepted, and never answered"
    LATE = "accepted after the client timed out"
    REJECT = "answered 400 InvalidArgument"


ACCEPTING = frozenset(
    {
        Fault.NONE,
        Fault.ACCEPT_THEN_DROP,
        Fault.ACCEPT_THEN_500,
        Fault.ACCEPT_THEN_GARBAGE,
        Fault.ACCEPT_THEN_BARE,
        Fault.SLOW,
        Fault.HANG,
        Fault.LATE,
    }
)
"""The faults that still create a job."""


_BARE_STATUSES = [302, 400, 403, 404, 408, 409, 413, 429, 451, 499, 502, 504]


def _bare(status: int) -> OrchestratorError:
    answer = ApiAnswer(status)
    if status >= 500:
        return ServerFault(answer)
    return Throttled(answer) if status == 429 else UnprovenAnswer(answer)


def error_of(fault: Fault, rng: random.Random) -> OrchestratorError | None:
    """Return the error that the client raises for a fault; None if it gets its answer."""
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
        case Fault.ACCEPT_THEN_BARE | Fault.BARE:
            return _bare(rng.choice(_BARE_STATUSES))
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
    """A failure of the whole service that lasts for a while."""

    REFUSED = "every request for the bucket ``FILMS`` is refused"
    QUEUE_FULL = "every POST is answered QueueSaturated"
    QUEUE_PAUSED = "every POST is answered QueuePaused, and waiting jobs do not start"
    HELD = "waiting jobs do not start, and the service says nothing of it"
    DOWN = "every request is answered 503, and no job is created"
    CUT = "no connection can be made"


@dataclass(frozen=True, slots=True)
class Spell:
    """A trouble with its begin and end; instants are monotonic."""

    trouble: Trouble
    begins_at: float
    ends_at: float

    def is_on(self, now: float) -> bool:
        """Return True if it lasts at this instant."""
        return self.begins_at <= now < self.ends_at

    def refusal(self, place: Place, *, is_submit: bool) -> OrchestratorError | None:
        """Return the error of a request that meets this trouble; None if the request passes."""
        match self.trouble:
            case Trouble.REFUSED if place.bucket == FILMS:
                return BucketRefused(ApiAnswer(403, "AccessDenied", "not yours"))
            case Trouble.CUT:
                return ConnectFailed()
            case Trouble.DOWN:
                return ServerFault(ApiAnswer(503, "ServiceUnavailable", "come back later"))
            case Trouble.QUEUE_FULL if is_submit:
                return QueueUnavailable(ApiAnswer(403, "QueueSaturated", "full"))
            case Trouble.QUEUE_PAUSED if is_submit:
                return QueueUnavailable(ApiAnswer(403, "QueuePaused", "suspended"))
            case _:
                return None


@dataclass(slots=True)
class Weather:
    """Conditions at the fake service.

    Attributes:
        faults: Weights of the faults of a POST.
        query_fails: Share of queries, lists and HEADs that fail.
        job_fails: Share of jobs that fail permanently.
        job_falters: Share of jobs that fail for a transient reason.
        latency_s: Longest travel time of a request, and of its answer.
        reply_timeout_s: Timeout of the client.
        listing_lag_s: Longest time until an accepted job is listed.
        job_s: Longest run time of a job; the shortest is a quarter of it.
        run_s: Run time by spec, give or take ``run_spread``; replaces ``job_s``.
        run_spread: Part by which a run time may be longer or shorter.
        concurrency: Number of jobs that run at once.
        account_per_s: POSTs per second of all runs of the account.
        spells: Troubles of the whole service.
        oddities: Odd ways of answering about jobs.
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
    run_spread: float = 0.3
    concurrency: int = 4
    account_per_s: float = math.inf
    spells: tuple[Spell, ...] = ()
    oddities: Oddities = field(default_factory=Oddities)

    def refusal(self, place: Place, now: float, *, is_submit: bool) -> OrchestratorError | None:
        """Return the error of the first trouble that refuses a request at this instant, or None."""
        for spell in self.spells:
            if (
                spell.is_on(now)
                and (error := spell.refusal(place, is_submit=is_submit)) is not None
            ):
                return error
        return None

    def bounds_of_run(self, spec: JobSpec) -> tuple[float, float]:
        """Return the shortest and the longest run time of a job, seconds."""
        if self.run_s is None:
            return self.job_s / 4, self.job_s
        run_s = self.run_s(spec)
        return (1 - self.run_spread) * run_s, (1 + self.run_spread) * run_s

    def is_held(self, now: float) -> bool:
        """Return True if waiting jobs do not start at this instant."""
        return self.is_paused(now) or self._is_on(Trouble.HELD, now)

    def is_paused(self, now: float) -> bool:
        """Return True if the service says that waiting jobs do not start at this instant."""
        return self._is_on(Trouble.QUEUE_PAUSED, now)

    def _is_on(self, trouble: Trouble, now: float) -> bool:
        return any(spell.trouble is trouble and spell.is_on(now) for spell in self.spells)
