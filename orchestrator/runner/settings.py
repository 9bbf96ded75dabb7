"""What bounds the engine, as one value. Every bound is named, with its unit and the reason for its default."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Bounds of one run.

    Attributes:
        in_flight: Jobs at the service, or on their way to it, at once. Shallow on purpose: what waits here keeps its order,
            what waits in the service's queue does not.
        connections: POSTs on the wire at once.
        attempts: POSTs of one job that may have reached the service, before it is given up.
        initial_s: Upper bound of the first backoff; doubles with each attempt.
        cap_s: Upper bound of any backoff.
        settle_s: How long an unanswered POST must stay absent from the List to be proven absent (listing may lag).
        reply_timeout_s: How long the client waits for an answer to a POST: a request of a process that died may arrive as late.
        poll_min_s: Shortest time between two looks at one job.
        poll_max_s: Longest time between two looks at one job.
        query_size: Ids of one query; the vendor's limit is 10.
        query_worth: Jobs that have probably ended, of the ids of one query, that make it worth its call. A third of ten means
            about 0.3 queries per job.
        queued_worth: The same while as many jobs wait at the service as run there: what has ended keeps nobody waiting ...
        queued_patience: ... so that a query can wait so many times longer for its worth.
        has_callbacks: The service tells when a job ends, so that looking without a hint can wait ...
        callback_patience: ... so many times longer, but not ...
        callback_max_s: ... longer than this, because callbacks get lost.
        hinted_worth: The same as ``query_worth`` with callbacks: hints are worth waiting for, to share a query ...
        hint_gather_s: ... but no hint waits longer than this.
        queries: Queries on the wire at once.
        heads: HEADs of stems on the wire at once.
        lost_after: How many queries in a row must miss an accepted job before it is called lost ...
        lost_after_s: ... and how long they must have missed it.
        stall_s: How long a job may stay submitted or running before it is reported as unfinished; a day, because a paused queue
            or a long backlog is not a fault.
        stem_wait_s: How long a stem that the service reported may stay invisible in the bucket (listing is eventually consistent).
        window: Ready jobs kept in memory per share; the rest waits in the ledger.
        age_after: Jobs of higher levels that may pass a waiting lower level before it moves up by one.
        breaker_after: Transport failures in a row that stop sending until a probe succeeds.
        heartbeat_s: Time between two signs of life in the ledger.
        adopt_margin_s: How far the service's clock may be behind ours when a lost job is looked for. The vendor refuses requests
            beyond 15 minutes; a signature's time begins up to two minutes before it is used, which may be all that is looked at.
    """

    in_flight: int = 500
    connections: int = 64
    attempts: int = 6
    initial_s: float = 0.5
    cap_s: float = 60.0
    settle_s: float = 30.0
    reply_timeout_s: float = 60.0
    poll_min_s: float = 1.0
    poll_max_s: float = 60.0
    query_size: int = 10
    query_worth: float = 3.5
    queued_worth: float = 5.5
    queued_patience: float = 5.0
    has_callbacks: bool = False
    callback_patience: float = 10.0
    callback_max_s: float = 300.0
    hinted_worth: float = 6.0
    hint_gather_s: float = 15.0
    queries: int = 8
    heads: int = 32
    lost_after: int = 4
    lost_after_s: float = 60.0
    stall_s: float = 86400.0
    stem_wait_s: float = 20.0
    window: int = 1000
    age_after: int = 50
    breaker_after: int = 5
    heartbeat_s: float = 5.0
    adopt_margin_s: float = 1200.0
