"""Limits on what a run spends: failures and cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.states import JobState
from orchestrator.domain.wording import counted

if TYPE_CHECKING:
    from orchestrator.domain.job import Job

MIN_SAMPLE = 20
"""Jobs that must have ended before a share of failures counts."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on what a run spends.

    Attributes:
        max_failures: Stop when more jobs than this have failed, or None.
        max_failure_percent: The same as a share of the jobs that ended, once ``MIN_SAMPLE`` have;
            or None.
        max_cost: Cost that must not be exceeded, or None.
        price_per_min: Price of one minute of output.
        guess_s: Duration assumed for media of unknown duration and size before any job has ended.
    """

    max_failures: int | None = None
    max_failure_percent: float | None = None
    max_cost: float | None = None
    price_per_min: float = 0.0
    guess_s: float = 240.0


class Budget:
    """Counts what a run spends.

    Cost is reserved before a job is sent, and corrected when its real duration is known.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._ended = 0
        self._failed = 0
        self._reserved: dict[int, float] = {}  # by job id in the ledger
        self._spent = 0.0
        self._seen_s = 0.0
        self._seen = 0
        self._sized_s = 0.0
        self._by_size_s = 0.0

    @property
    def cost(self) -> float:
        """Cost spent and reserved."""
        return self._spent + sum(self._reserved.values())

    def refusal(self, job: Job) -> str | None:
        """Return the reason why this job must not be sent, or None if it may."""
        bounds = self._bounds
        if (too_many := self._too_many_failures()) is not None:
            return too_many
        if bounds.max_cost is None:
            return None
        cost = self._cost_of(job, self._expected_s(job))
        if self.cost + cost > bounds.max_cost:
            return (
                f"the next job would raise the cost from {self.cost:.2f} to "
                f"{self.cost + cost:.2f}, beyond max_cost {bounds.max_cost:g}"
            )
        return None

    def reserve(self, job: Job) -> None:
        """Count the expected cost of a job that is about to be sent."""
        if self._bounds.max_cost is not None:
            self._reserved[job.id] = self._cost_of(job, self._expected_s(job))

    def release(self, job: Job) -> None:
        """Take back the cost of a job that was not accepted."""
        self._reserved.pop(job.id, None)

    def ended(self, job: Job) -> None:
        """Count a job that ended: its failure, and its real cost instead of the reserved one."""
        self._ended += 1
        self._failed += job.state in (JobState.FAILED, JobState.REJECTED)
        reserved = self._reserved.pop(job.id, None)
        if job.media_duration_s is not None:
            self._seen_s += job.media_duration_s
            self._seen += 1
            if by_size_s := job.spec.media.by_size_s:
                self._sized_s += job.media_duration_s
                self._by_size_s += by_size_s
        if job.state is JobState.SUCCEEDED and reserved is not None:
            known_s = job.media_duration_s
            duration_s = self._expected_s(job) if known_s is None else known_s
            self._spent += self._cost_of(job, duration_s)

    def _expected_s(self, job: Job) -> float:
        """Return the duration as known; else by the size of the file, as those that ended were."""
        if job.spec.media.duration_s is not None:
            return job.spec.media.duration_s
        if by_size_s := job.spec.media.by_size_s:
            return by_size_s * (self._sized_s / self._by_size_s if self._by_size_s else 1.0)
        return self._seen_s / self._seen if self._seen else self._bounds.guess_s

    def _cost_of(self, job: Job, duration_s: float) -> float:
        """Return output minutes times price: two stems of one minute are two minutes.

        The vendor does not publish how it rounds.
        """
        return len(job.spec.output.names()) * duration_s / 60 * self._bounds.price_per_min

    def _too_many_failures(self) -> str | None:
        bounds = self._bounds
        if bounds.max_failures is not None and self._failed > bounds.max_failures:
            failed = counted(self._failed, "job")
            return f"{failed} failed, beyond max_failures {bounds.max_failures}"
        if bounds.max_failure_percent is not None and self._ended >= MIN_SAMPLE:
            percent = 100 * self._failed / self._ended
            if percent > bounds.max_failure_percent:
                return (
                    f"{self._failed:,} of {self._ended:,} jobs failed, "
                    f"beyond max_failures {bounds.max_failure_percent:g}%"
                )
        return None
