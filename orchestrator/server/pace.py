"""Pace of simulated work."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Pace(StrEnum):
    """Trigger that moves jobs from ``Submitted`` to a terminal state."""

    WORK = "work"
    """Real work in worker processes."""
    IMMEDIATE = "immediate"
    """Simulated work that takes no time. Hides polling bugs: do not use it for rehearsals."""
    SECONDS = "seconds"
    """Simulated work that takes some seconds."""
    POLLS = "polls"
    """Simulated work that advances with each query of the job: exact in tests."""
    HOLD = "hold"
    """No job is ever started: for benchmarks of submit and query."""


@dataclass(frozen=True, slots=True)
class Progression:
    """Kind and pace of the work; only ``pace`` counts when it is ``work``.

    Attributes:
        pace: Trigger that moves a job.
        start_after: Seconds (or queries) that a job waits before it runs. With ``seconds``,
            ``max_concurrent`` limits it too.
        finish_after: Seconds (or queries) that it then runs.
        per_input_mb_s: With ``seconds``: extra seconds per megabyte of input, if the input exists.
        media_s: Length in seconds that simulated results claim in MediaInfo.
    """

    pace: Pace = Pace.WORK
    start_after: float = 0
    finish_after: float = 1
    per_input_mb_s: float = 0
    media_s: float = 60

    @property
    def simulated(self) -> bool:
        """True if no real separation is done."""
        return self.pace is not Pace.WORK
