"""The ports of one run, filled in by the caller."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.runner.settings import RunnerSettings

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable

    from orchestrator.domain.ports import (
        Clock,
        EventSink,
        JobService,
        Ledger,
        Limiter,
        ObjectStore,
    )


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of one run.

    Attributes:
        ledger: Durable state; the caller has acquired it.
        service: The job API.
        store: The object storage.
        submit_limiter: Ceiling of POSTs; only the dispatcher waits on it.
        query_limiter: Ceiling of queries; only the tracker waits on it.
        list_limiter: Ceiling of lists; only the settler waits on it.
        look_limiter: Ceiling of looks for stems before anything is sent; only the intake waits on
            it.
        clock: Time.
        rng: Source of jitter.
        sink: Receives events.
        is_transient: Return True if a job that failed with this code may succeed as a new job.
        off_loop: Run a blocking call (the sync of a file) off the event loop.
        settings: Bounds.
    """

    ledger: Ledger
    service: JobService
    store: ObjectStore
    submit_limiter: Limiter
    query_limiter: Limiter
    list_limiter: Limiter
    look_limiter: Limiter
    clock: Clock
    rng: random.Random
    sink: EventSink
    is_transient: Callable[[str], bool]
    off_loop: Callable[[Callable[[], None]], Awaitable[None]]
    settings: RunnerSettings = field(default_factory=RunnerSettings)
