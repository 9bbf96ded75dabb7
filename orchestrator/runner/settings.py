"""Subject and bounds of one run.

Bounds that neither the user nor the simulation changes are constants where they are used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.run import LOOKBACK_S

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from orchestrator.domain.states import JobState
    from orchestrator.runner.budget import Budget
    from orchestrator.runner.deadlines import OpenHours

SOON_S = 5.0
"""A run ends within this time after its last job, or within 15 % of that job's time at the service,
whichever is more."""


@dataclass(frozen=True, slots=True)
class RunnerSettings:
    """Bounds of one run.

    Attributes:
        in_flight: Jobs at the service, or on their way to it, at once. Small on purpose: jobs
            that wait here keep their order, jobs in the service's queue do not.
        connections: POSTs on the wire at once.
        attempts: POSTs of one job that may have reached the service before it is given up.
        initial_s: Upper bound of the first backoff; it doubles with each attempt.
        cap_s: Upper bound of any backoff.
        settle_s: How long a POST without an answer must stay absent from the job list to be
            proven absent; the list may lag.
        reply_timeout_s: How long the client waits for the answer to a POST.
        late_s: How long a request of a process that died may still be on its way to the service;
            None for as long as that process would have waited for the answer.
        has_callbacks: The service reports the end of a job by callback, so polling can wait.
        soon_s: See ``SOON_S``. Shorter where queries cost nothing.
        window: Ready jobs kept in memory per share; the rest waits in the ledger. This and the
            following are fixed in a real run, and drawn by the simulation.
        age_after: Jobs of higher levels that may pass a waiting lower level before it moves up by
            one.
        queries: Queries on the wire at once.
        heads: HEADs of stems on the wire at once.
        stem_wait_s: How long a reported stem may stay invisible in its bucket.
        heartbeat_s: Time between two beats of the run.
    """

    in_flight: int = 500
    connections: int = 64
    attempts: int = 6
    initial_s: float = 0.5
    cap_s: float = 60.0
    settle_s: float = 30.0
    reply_timeout_s: float = 60.0
    late_s: float | None = None
    has_callbacks: bool = False
    soon_s: float = SOON_S
    window: int = 1000
    age_after: int = 50
    queries: int = 8
    heads: int = 32
    stem_wait_s: float = 20.0
    heartbeat_s: float = 5.0

    @property
    def orphan_s(self) -> float:
        """Time after which no request of a process that died arrives any more."""
        return self.reply_timeout_s if self.late_s is None else self.late_s


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """Subject of one run.

    Attributes:
        name: Name of the manifest, for the run's id.
        report: Path of the report; ``{run}`` in it becomes the run's id.
        moves_report: A resumed run writes all its rows to ``report`` too, instead of continuing
            the report that it began with.
        reports_all: The report has a row for each skipped job, too.
        folder_of: Returns the folder of a bucket on this machine, for the report; None if the
            buckets are elsewhere.
        retry: States in which jobs of earlier runs are retried.
        verify_done: Check that the stems of finished jobs are still there; make missing ones again.
        skip_existing: A job whose stems are all in their bucket already counts as done.
        budget: What the run may spend; None for no bound.
        deadline_s: How long the run may last, or None.
        window: The hours in which jobs may be sent, or None for any time.
        lookback_s: How far back a ledger without a history looks for jobs that the account has
            already had done; 0 for not at all.
        is_whole: The feed is the whole manifest: jobs that it does not name have left it.
        manifest: Identity of the manifest among those that share the ledger.
        exists: Return True if a manifest with this identity still exists.
        leftovers: Treatment of unsent jobs that have left the manifest: ``keep``, ``finish`` or
            ``drop``.
        canary: Jobs that must succeed before the rest is sent; 0 for none.
        progress: Returns what each beat shows of the run, ready for JSON.
    """

    name: str
    report: str
    moves_report: bool = False
    reports_all: bool = False
    folder_of: Callable[[str], str | None] | None = None
    retry: Collection[JobState] = ()
    verify_done: bool = False
    skip_existing: bool = False
    budget: Budget | None = None
    deadline_s: float | None = None
    window: OpenHours | None = None
    lookback_s: float = LOOKBACK_S
    is_whole: bool = True
    manifest: str = ""
    exists: Callable[[str], bool] = bool
    leftovers: str = "keep"
    canary: int = 0
    progress: Callable[[], object] = lambda: None
