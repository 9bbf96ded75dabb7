"""A run, the holder of a ledger, and the counts of jobs by state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.domain.states import JobState


@dataclass(frozen=True, slots=True)
class Run:
    """One execution of a manifest; it stays open until all of its jobs have ended.

    Attributes:
        id: Name and start, ``nightly-stems-20261122T010000Z``.
        number: Counts the runs of this ledger, from 1.
        opened_at: When it was begun.
        report: Path of the report file.
        resumed: It was open already, and is continued.
        visit: Counts the times that this ledger was worked on, from 1; jobs seen by the present one carry it.
    """

    id: str
    number: int
    opened_at: float
    report: str
    resumed: bool = False
    visit: int = 1


@dataclass(frozen=True, slots=True)
class Holder:
    """Who works on a ledger: for the message of the one who came second."""

    host: str
    pid: int
    since: float
    command: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """Jobs of the present run by state; ``skipped`` counts those done in an earlier run (not in ``by_state``)."""

    by_state: dict[JobState, int] = field(default_factory=dict)
    skipped: int = 0

    @property
    def total(self) -> int:
        """All jobs of the run."""
        return sum(self.by_state.values()) + self.skipped

    def of(self, *states: JobState) -> int:
        """How many are in one of ``states``."""
        return sum(self.by_state.get(state, 0) for state in states)
