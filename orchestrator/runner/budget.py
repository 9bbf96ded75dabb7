"""When enough is enough: failures, cost, time of day. Pure; ``now`` is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.states import JobState

if TYPE_CHECKING:
    from orchestrator.domain.job import Job

MIN_SAMPLE = 20
"""A share of failures means nothing before so many jobs have ended."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one visit to a run may spend.

    Attributes:
        max_failures: Failures that stop the sending when passed, or None.
        max_failure_percent: The same as a share of the jobs that ended, once ``MIN_SAMPLE`` have, or None.
        max_cost: Cost that must not be passed, or None.
        price_per_min: Price of one minute of output.
        guess_s: Duration assumed for media whose duration is not known before any has ended.
    """

    max_failures: int | None = None
    max_failure_percent: float | None = None
    max_cost: float | None = None
    price_per_min: float = 0.0
    guess_s: float = 240.0


class Budget:
    """Keeps count of what a visit spends. Cost is reserved before a job is sent, and corrected when its real duration is known."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._ended = 0
        self._failed = 0
        self._reserved: dict[int, float] = {}  # by job id in the ledger
        self._spent = 0.0
        self._seen_s = 0.0
        self._seen = 0

    @property
    def cost(self) -> float:
        """Spent and reserved."""
        return self._spent + sum(self._reserved.values())

    def refusal(self, job: Job) -> str | None:
        """Why this job must not be sent, or None if it may."""
        bounds = self._bounds
        if (too_many := self._too_many_failures()) is not None:
            return too_many
        if bounds.max_cost is None:
            return None
        cost = self._cost_of(job, self._expected_s(job))
        if self.cost + cost > bounds.max_cost:
            return f"the next job would bring the cost from {self.cost:.2f} to {self.cost + cost:.2f}, beyond max_cost {bounds.max_cost:g}"
        return None

    def reserve(self, job: Job) -> None:
        """The job is about to be sent: its expected cost counts from now on."""
        if self._bounds.max_cost is not None:
            self._reserved[job.id] = self._cost_of(job, self._expected_s(job))

    def release(self, job: Job) -> None:
        """The job was not accepted: it costs nothing."""
        self._reserved.pop(job.id, None)

    def ended(self, job: Job) -> None:
        """The job ended: failures count, and the reserve gives way to the real cost."""
        self._ended += 1
        self._failed += job.state in (JobState.FAILED, JobState.REJECTED)
        reserved = self._reserved.pop(job.id, None)
        if job.media_duration_s is not None:
            self._seen_s += job.media_duration_s
            self._seen += 1
        if job.state is JobState.SUCCEEDED and reserved is not None:
            self._spent += self._cost_of(
                job,
                job.media_duration_s if job.media_duration_s is not None else self._expected_s(job),
            )

    def _expected_s(self, job: Job) -> float:
        if job.spec.media.duration_s is not None:
            return job.spec.media.duration_s
        return self._seen_s / self._seen if self._seen else self._bounds.guess_s

    def _cost_of(self, job: Job, duration_s: float) -> float:
        """Output minutes times price: two stems of a minute are two minutes (how the vendor rounds is not published)."""
        return len(job.spec.output.names()) * duration_s / 60 * self._bounds.price_per_min

    def _too_many_failures(self) -> str | None:
        bounds = self._bounds
        if bounds.max_failures is not None and self._failed > bounds.max_failures:
            return f"{self._failed} jobs failed, beyond max_failures {bounds.max_failures}"
        if bounds.max_failure_percent is not None and self._ended >= MIN_SAMPLE:
            percent = 100 * self._failed / self._ended
            if percent > bounds.max_failure_percent:
                return f"{self._failed} of {self._ended} jobs failed, beyond max_failures {bounds.max_failure_percent:g}%"
        return None
