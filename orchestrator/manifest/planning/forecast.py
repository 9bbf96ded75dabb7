"""Forecast of a run before anything is sent: jobs by standing, calls, minutes, cost, time."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchestrator.domain.states import JobState
from orchestrator.domain.wording import counted
from orchestrator.manifest.manifest import LocalServiceSettings
from orchestrator.manifest.schema.inputs import ObjectInput

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import JobSpec
    from orchestrator.manifest.manifest import Manifest

PLAN_SCHEMA = "orchestrator.plan/1"
QUERIES_PER_JOB = 0.5
"""A query carries ten ids, and a job is queried a few times. With the POST: 1.5 calls per job."""
SINGLE_OBJECTS = "single objects"
"""Source name in the counts for objects written in the manifest itself."""

_LEFTOVERS = {
    "keep": "neither sent nor cancelled (leftovers: keep)",
    "finish": "sent too (leftovers: finish), and not in the numbers above",
    "drop": "cancelled by the run (leftovers: drop)",
}


class Standing(StrEnum):
    """Standing of a job of the manifest against the ledger."""

    NEW = "new"
    """The ledger does not know the object."""
    CHANGED = "changed"
    """The ledger knows the object in another version or with other parameters."""
    OPEN = "open"
    """Started in an earlier run, not ended."""
    FAILED = "failed_before"
    """Failed, rejected or cancelled in an earlier run."""
    DONE = "done"
    """Succeeded in an earlier run, or its stems are in their bucket (only if that is checked)."""
    LOST = "lost"
    """Succeeded in an earlier run, but its stems are missing (only if that is checked)."""
    REJECTED = "rejected"
    """Cannot be requested: its row in a list or one of its names is wrong."""


_ENDED_BADLY = frozenset({JobState.FAILED, JobState.REJECTED, JobState.CANCELLED})


def standing(job: Job | None, *, changed: bool) -> Standing:
    """Return the standing of a job.

    Args:
        job: The job of the ledger with the same key.
        changed: True if the ledger knows the object under another key.
    """
    if job is None:
        return Standing.CHANGED if changed else Standing.NEW
    if job.state is JobState.SUCCEEDED:
        return Standing.DONE
    if job.was_dropped:  # a run plans it again
        return Standing.OPEN
    return Standing.FAILED if job.state in _ENDED_BADLY else Standing.OPEN


def empty_counts() -> dict[str, int]:
    """Return zero for every standing."""
    return {standing.value: 0 for standing in Standing}


def price_per_minute(manifest: Manifest) -> float:
    """Return the price of a minute of output: the local service costs nothing."""
    is_local = isinstance(manifest.service, LocalServiceSettings)
    return 0.0 if is_local else manifest.price.per_minute


def source_names(manifest: Manifest) -> Callable[[str], str]:
    """Return how counts name a source: objects in the manifest itself count as one."""
    single = frozenset(
        f"inputs[{index}]"
        for index, each in enumerate(manifest.inputs)
        if isinstance(each, ObjectInput)
    )
    return lambda source: SINGLE_OBJECTS if source in single else source


@dataclass(slots=True)
class Basis:
    """Number of durations by origin.

    Given in a list or the manifest, measured in an earlier run, estimated from the size, or
    unknown.
    """

    given: int = 0
    measured: int = 0
    from_size: int = 0
    unknown: int = 0


@dataclass(slots=True)
class Forecast:
    """Sums up the work of a run, one job at a time, in constant memory.

    Args:
        manifest: Manifest with limits, prices and sources.
        retry: States of earlier runs that are retried (``--retry``).
    """

    manifest: Manifest
    retry: Collection[JobState] = ()
    totals: dict[str, int] = field(default_factory=empty_counts)
    by_level: dict[int, dict[str, int]] = field(default_factory=dict)
    by_source: dict[str, dict[str, int]] = field(default_factory=dict)
    orphaned: int = 0
    """Open jobs of the ledger that are no longer in the manifest. The caller sets it."""
    left: int = 0
    """Unsent jobs among the ``orphaned`` ones. The caller sets it."""
    canary: int = 0
    """Jobs that must succeed before the rest is sent. The caller sets it."""
    duplicates: int = 0
    """Jobs left out as duplicates. The caller sets it from ``Planner.duplicates``."""
    left_out: dict[str, int] = field(default_factory=dict)
    """Objects that filters left out, by source. The caller sets it from ``Feed.left_out``."""
    remarks: list[str] = field(default_factory=list)
    """Remarks on the sources. The caller sets it."""
    to_do: int = 0
    _submits: int = 0
    _heads: int = 0
    _known_output_s: float = 0.0
    _basis: Basis = field(default_factory=Basis)
    _source_name: Callable[[str], str] = field(init=False)

    def __post_init__(self) -> None:
        """Find the sources that are single objects."""
        self._source_name = source_names(self.manifest)

    def add(
        self,
        spec: JobSpec,
        job: Job | None = None,
        *,
        changed: bool = False,
        lost: bool = False,
        is_there: bool = False,
    ) -> Standing:
        """Count one job of the manifest.

        Args:
            spec: The job.
            job: The job of the ledger with the same key (``Ledger.find``).
            changed: True if the ledger knows its object under another key
                (``Ledger.same_object``).
            lost: True if it succeeded and its stems are missing, so that it is done again.
            is_there: True if its stems are in their bucket, and count.
        """
        how = Standing.LOST if lost else standing(job, changed=changed)
        if is_there:
            how = Standing.DONE
        if spec.is_refused:
            how = Standing.REJECTED
        source = self._source_name(spec.origin.source)
        for counts in (
            self.totals,
            self.by_level.setdefault(spec.level, empty_counts()),
            self.by_source.setdefault(source, empty_counts()),
        ):
            counts[how] += 1
        is_wanted = how in {Standing.NEW, Standing.CHANGED, Standing.OPEN, Standing.LOST}
        is_ended = spec.is_refused or is_there
        is_retried = job is not None and job.state in self.retry and not is_ended
        if is_wanted or is_retried:
            self._add_work(spec, job)
        return how

    def _add_work(self, spec: JobSpec, job: Job | None) -> None:
        stems = len(spec.output.names())
        self.to_do += 1
        self._heads += stems
        if job is not None and job.state in {JobState.SUBMITTED, JobState.RUNNING}:
            # Already paid at the service: the run only tracks it.
            return
        self._submits += 1
        seconds = self._duration_s(spec, job)
        if seconds is not None:
            self._known_output_s += seconds * stems

    def _duration_s(self, spec: JobSpec, job: Job | None) -> float | None:
        media = spec.media
        if media.duration_s is not None:
            self._basis.given += 1
            return media.duration_s
        if job is not None and job.media_duration_s is not None:
            self._basis.measured += 1
            return job.media_duration_s
        if (by_size_s := media.by_size_s) is not None:
            self._basis.from_size += 1
            return by_size_s
        self._basis.unknown += 1
        return None

    @property
    def output_minutes(self) -> float | None:
        """Minutes of output, or None if no duration is known.

        Jobs of unknown duration count as the average of the others.
        """
        if not self._submits:
            return 0.0
        known = self._submits - self._basis.unknown
        if not known:
            return None
        return self._known_output_s / 60 * self._submits / known

    @property
    def cost(self) -> float | None:
        """Estimated cost in the manifest's currency, or None if no duration is known."""
        price, minutes = price_per_minute(self.manifest), self.output_minutes
        return None if price and minutes is None else (minutes or 0.0) * price

    @property
    def at_least_s(self) -> float:
        """Time in seconds that the limits require, without the work of the service."""
        limits = self.manifest.limits
        return max(
            self._submits / limits.submit_per_s, self.to_do * QUERIES_PER_JOB / limits.query_per_s
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the forecast for ``plan --json``."""
        minutes, cost = self.output_minutes, self.cost
        queries = round(self.to_do * QUERIES_PER_JOB)
        return {
            "schema": PLAN_SCHEMA,
            "jobs": {
                **self.totals,
                "total": sum(self.totals.values()),
                "to_do": self.to_do,
                "orphaned": self.orphaned,
            },
            "left": self.left,
            "duplicates": self.duplicates,
            "left_out": self.left_out,
            "remarks": self.remarks,
            "by_level": {
                str(level): self.by_level[level] for level in sorted(self.by_level, reverse=True)
            },
            "by_source": dict(self.by_source),
            "calls": {"submit": self._submits, "query": queries, "head": self._heads},
            "estimate": {
                "output_minutes": None if minutes is None else round(minutes, 2),
                "cost": None if cost is None else round(cost, 4),
                "currency": self.manifest.price.currency,
                "price_per_minute": self.manifest.price.per_minute,
                "durations": {
                    "given": self._basis.given,
                    "measured": self._basis.measured,
                    "from_size": self._basis.from_size,
                    "unknown": self._basis.unknown,
                },
                "at_least_s": round(self.at_least_s, 1),
            },
        }

    def notes(self) -> list[str]:
        """Return remarks on the numbers, one sentence or two each."""
        basis, notes = self._basis, []
        if not sum(self.totals.values()):
            notes.append(
                "No objects: the sources are empty, or --only, --limit or --sample excluded all."
            )
        if basis.from_size:
            objects = counted(basis.from_size, "object")
            notes.append(f"The duration of {objects} is estimated from the size.")
        if basis.unknown:
            meaning = (
                "counted as the average of the others"
                if basis.unknown < self._submits
                else "minutes and cost are unknown"
            )
            objects = counted(basis.unknown, "object")
            notes.append(
                f"The duration of {objects} is unknown: {meaning}. A list can give it in a column "
                "duration_s."
            )
        if self.totals[Standing.FAILED] and not self.retry:
            jobs = counted(self.totals[Standing.FAILED], "job")
            notes.append(
                f"Failed, rejected or cancelled in an earlier run: {jobs}. "
                "--retry failed (or rejected, all) retries them."
            )
        if self.left:
            jobs = counted(self.left, "job")
            notes.append(
                f"Left by earlier runs, not sent, and not in the manifest: {jobs}, "
                f"{_LEFTOVERS[self.manifest.leftovers]}."
            )
        if self.orphaned > self.left:
            jobs = counted(self.orphaned - self.left, "job")
            notes.append(
                f"At the service, but no longer in the manifest: {jobs}, tracked to the end."
            )
        if self.canary:
            jobs = counted(self.canary, "job")
            notes.append(f"Canary: {jobs} must succeed before the rest is sent.")
        if self.duplicates:
            objects = counted(self.duplicates, "object")
            notes.append(f"Named again with the same settings, and planned once: {objects}.")
        if self.totals[Standing.REJECTED]:
            objects = counted(self.totals[Standing.REJECTED], "object")
            notes.append(f"{objects} cannot be requested; a run reports each as rejected.")
        notes += [
            f"{source}: its filters leave out {counted(number, 'object')}."
            for source, number in self.left_out.items()
        ]
        notes += self.remarks
        return notes
