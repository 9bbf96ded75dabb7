"""Conditions at the fake service: faults of a request, troubles that last, and odd answers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from orchestrator.domain.remote import RemoteJob, RemoteState
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

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from orchestrator.domain.spec import JobSpec, Place


LONG_AGO = 1e9
"""Creation time of foreign jobs, seconds since the epoch: before any of ours."""


class Echo(Enum):
    """Form in which ``UserData`` comes back."""

    EXACT = "as it was sent"
    SPACED = "between line breaks"
    UPPER = "in upper case"
    PLUS = "with + for a space"
    CUT = "cut after a few characters"
    EMPTY = "not at all"

    def of(self, text: str) -> str:
        """Return the echo of a text."""
        match self:
            case Echo.SPACED:
                return f"\n   {text}\n "
            case Echo.UPPER:
                return text.upper()
            case Echo.PLUS:
                return text.replace(" ", "+")
            case Echo.CUT:
                return text[:8]
            case Echo.EMPTY:
                return ""
            case _:
                return text


@dataclass(frozen=True, slots=True)
class Oddities:
    """Oddities of one service; by default it has none.

    Attributes:
        echo: Form in which ``UserData`` comes back.
        early_echo: The same until ``early_until``, monotonic.
        has_foreign_jobs: Lists show jobs of other programs, in states that no page names, and about
            the same objects.
        needs_queue: Lists are refused without a queue id.
        least_lag_s: Shortest time until an accepted job is listed.
        mix_ups: Share of submit answers that carry the id of the job accepted before.
        odd_states: Share of jobs that are in an unknown state for a while.
        refused_queries: Share of jobs whose queries are refused for a while.
        odd_for_s: Length of that while.
        nameless: Share of finished jobs whose answer names no file.
        late_stems_s: Time from the end of a job until its stems are seen.
    """

    echo: Echo = Echo.EXACT
    early_echo: Echo = Echo.EXACT
    early_until: float = 0.0
    has_foreign_jobs: bool = False
    needs_queue: bool = False
    least_lag_s: float = 0.0
    mix_ups: float = 0.0
    odd_states: float = 0.0
    refused_queries: float = 0.0
    odd_for_s: float = 60.0
    nameless: float = 0.0
    late_stems_s: float = 0.0

    def echo_of(self, text: str, now: float) -> str:
        """Return how ``UserData`` comes back at this instant."""
        return (self.early_echo if now < self.early_until else self.echo).of(text)

    def foreign_jobs(self, about: str) -> tuple[RemoteJob, ...]:
        """Return jobs of other programs, as a list shows them.

        Args:
            about: The input object that is asked for, or empty.
        """
        if not self.has_foreign_jobs:
            return ()
        running = RemoteState.RUNNING
        if about:
            return (
                RemoteJob("jforeign3", running, user_data="v1.other0000001", input_object=about),
                RemoteJob("jforeign4", running, input_object=about, created_at=LONG_AGO),
            )
        return (
            RemoteJob(
                "jforeign1", RemoteState.UNKNOWN, input_object="a.mov", state_word="Auditing"
            ),
            RemoteJob("jforeign2", running, user_data="v1.", input_object="b.mov"),
        )


@dataclass(slots=True)
class OddJob:
    """Oddities that were drawn for one job; instants are monotonic."""

    has_odd_state_until: float = 0.0
    is_refused_until: float = 0.0
    is_nameless: bool = False

    @classmethod
    def draw(cls, oddities: Oddities, rng: random.Random, now: float) -> OddJob:
        """Draw the oddities of a job that was accepted now."""
        until = now + oddities.odd_for_s
        return cls(
            until if rng.random() < oddities.odd_states else 0.0,
            until if rng.random() < oddities.refused_queries else 0.0,
            rng.random() < oddities.nameless,
        )


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
