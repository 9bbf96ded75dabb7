"""Money and minutes of a run: estimated from what the manifest knows, actual as measured. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.domain.states import JobState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from orchestrator.domain.run import Usage


@dataclass(frozen=True, slots=True)
class Price:
    """Price of output.

    Attributes:
        per_minute: Price of one minute of one stem; 0 if the service costs nothing.
        currency: Its currency.
    """

    per_minute: float
    currency: str


@dataclass(slots=True)
class Share:
    """Part of a run that succeeded: all of it, one level or one source.

    Attributes:
        jobs: Jobs that succeeded.
        output_s: Sound in their stems in seconds, as measured; two stems of a minute are two.
        known_s: The same as it could be known beforehand, without the unsized jobs.
        unsized: Jobs whose length could not even be estimated beforehand.
        unmeasured: Jobs whose length is still unknown.
    """

    jobs: int = 0
    output_s: float = 0.0
    known_s: float = 0.0
    unsized: int = 0
    unmeasured: int = 0

    def add(self, usage: Usage, known_s: float) -> None:
        """Count jobs that succeeded."""
        self.jobs += usage.jobs
        self.output_s += usage.stems * usage.media_s
        self.known_s += usage.stems * known_s
        self.unsized += usage.unsized
        self.unmeasured += usage.unmeasured

    @property
    def estimated_s(self) -> float | None:
        """Estimate, as ``plan`` makes it: unsized jobs count as the average of the others.

        None if all are unsized.
        """
        sized = self.jobs - self.unsized
        return self.known_s * self.jobs / sized if sized else None

    def as_dict(self, price: Price) -> dict[str, Any]:
        """Return the share for the summary: minutes of output and cost, as estimated and actual."""
        estimated_s, minutes = self.estimated_s, self.output_s / 60
        estimated = None if estimated_s is None else estimated_s / 60
        return {
            "minutes": {
                "estimated": None if estimated is None else round(estimated, 2),
                "actual": round(minutes, 2),
            },
            "cost": {
                "estimated": None if estimated is None else round(estimated * price.per_minute, 4),
                "actual": round(minutes * price.per_minute, 4),
                "currency": price.currency,
            },
            "unmeasured": self.unmeasured,
        }


@dataclass(slots=True)
class Spending:
    """Money and minutes of a run, and its failures by code.

    Only jobs that succeeded count: the vendor charges for output. Jobs that were adopted count in
    the run that reports them.

    Attributes:
        price: The price.
        total: All jobs that succeeded.
        by_level: The same by level.
        by_source: The same by source.
        by_code: Number of jobs that did not succeed, by state and error code.
    """

    price: Price
    total: Share = field(default_factory=Share)
    by_level: dict[int, Share] = field(default_factory=dict)
    by_source: dict[str, Share] = field(default_factory=dict)
    by_code: dict[JobState, dict[str, int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return what the summary says of it."""
        price = self.price
        return {
            **self.total.as_dict(price),
            "by_level": {
                str(level): {"jobs": share.jobs, **share.as_dict(price)}
                for level, share in sorted(self.by_level.items(), reverse=True)
            },
            "by_source": {
                name: {"jobs": share.jobs, **share.as_dict(price)}
                for name, share in self.by_source.items()
            },
            "by_code": {
                state.value: dict(sorted(codes.items(), key=lambda item: (-item[1], item[0])))
                for state, codes in sorted(self.by_code.items())
            },
        }


def spending_of(
    usages: Iterable[Usage],
    price: Price,
    seconds_of_size: Callable[[str, int], float],
    name_of_source: Callable[[str], str],
) -> Spending:
    """Sum up what a run has spent.

    Args:
        usages: Sums over its jobs.
        price: The price.
        seconds_of_size: Estimates a duration in seconds from a suffix and a size in bytes.
        name_of_source: Returns the name under which a source is counted.
    """
    found = Spending(price)
    for usage in sorted(usages):
        if usage.state is not JobState.SUCCEEDED:
            codes = found.by_code.setdefault(usage.state, {})
            codes[usage.code] = codes.get(usage.code, 0) + usage.jobs
            continue
        known_s = usage.given_s + seconds_of_size(usage.suffix, usage.sized_bytes)
        source = name_of_source(usage.source)
        for share in (
            found.total,
            found.by_level.setdefault(usage.level, Share()),
            found.by_source.setdefault(source, Share()),
        ):
            share.add(usage, known_s)
    return found
