"""A run, the holder of a ledger, and the counts of jobs by state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from orchestrator.domain.states import JobState


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a manifest; it stays open until all of its jobs have ended.

    Attributes:
        id: Name and start, ``nightly-stems-20261122T010000Z``.
        number: Counts the runs of this ledger, from 1.
        opened_at: When it began.
        report: Path of the report file.
        resumed: It was open already and is resumed.
        visit: Number of times that this ledger was opened for work, from 1. Jobs that the manifest
            names now carry it.
        closed_at: When it ended, or None while it is open.
    """

    id: str
    number: int
    opened_at: float
    report: str
    resumed: bool = False
    visit: int = 1
    closed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Holder:
    """Process that holds a ledger, for the message to the second one."""

    host: str
    pid: int
    since: float
    command: str = ""


LOOKBACK_S = 30 * 86400.0
"""Farthest that a ledger looks back at the service: records are kept for about a month (console
page of the vendor)."""
PULSE = "pulse"
"""Name under which the ledger keeps the last beat of a run, for ``orchestrator status``."""
MAX_CANARY = 1000
"""Largest canary: its jobs are kept in memory, and a run waits for each of them."""


@dataclass(frozen=True, slots=True)
class CanaryOutcome:
    """Outcome of the canary of a run.

    Attributes:
        result: ``passed``; ``failed``; ``pending``: not decided when the run stopped;
            ``not_needed``: there was no job to send.
        jobs: Jobs that were to succeed.
        succeeded: Jobs of the canary that did.
        reason: Why it failed, or empty.
    """

    result: str
    jobs: int
    succeeded: int
    reason: str = ""


class Usage(NamedTuple):
    """Sums over jobs of a run that have ended and have much in common, without skipped ones.

    Attributes:
        level: Their level.
        source: The source that named them.
        state: Their state.
        code: Their error code, or empty.
        stems: Number of stems of each.
        suffix: Part of their object names after the last dot, in lower case; empty if the name,
            without its folders, has no dot.
        jobs: Number of jobs.
        media_s: Sound in seconds: as the service measured it, else as the manifest gives it.
        unmeasured: Jobs of which neither is known.
        given_s: Sound in seconds, of the jobs whose duration the manifest gives.
        sized_bytes: Size of the objects of the other jobs.
        unsized: Jobs of which neither duration nor size is given.
    """

    level: int
    source: str
    state: JobState
    code: str
    stems: int
    suffix: str
    jobs: int
    media_s: float
    unmeasured: int
    given_s: float
    sized_bytes: int
    unsized: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Jobs of the present run by state.

    Attributes:
        by_state: Jobs by state, without the skipped ones.
        skipped: Jobs that were done in an earlier run.
        left: Jobs of earlier runs that were not sent and that the manifest no longer names. They
            belong to no run.
    """

    by_state: dict[JobState, int] = field(default_factory=dict)
    skipped: int = 0
    left: int = 0

    @property
    def total(self) -> int:
        """Number of all jobs of the run."""
        return sum(self.by_state.values()) + self.skipped

    def of(self, *states: JobState) -> int:
        """Return how many jobs are in one of ``states``."""
        return sum(self.by_state.get(state, 0) for state in states)
