"""How simulated work moves on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Pace(StrEnum):
    """How jobs get from ``Submitted`` to their end."""

    WORK = "work"
    """Real work in worker processes."""
    IMMEDIATE = "immediate"
    """Simulated work that takes no time. Hides polling mistakes: not for rehearsals."""
    SECONDS = "seconds"
    """Simulated work that takes some seconds."""
    POLLS = "polls"
    """Simulated work that moves on when the job is asked for: exact in tests."""
    HOLD = "hold"
    """Nothing is ever started: for benchmarks of submit and query."""


@dataclass(frozen=True, slots=True)
class Progression:
    """How simulated work goes on; of no consequence when ``pace`` is ``work``.

    Attributes:
        pace: What moves a job on.
        start_after: Seconds (or queries) that a job waits before it runs. With ``seconds``, ``max_concurrent`` bounds it too.
        finish_after: Seconds (or queries) that it then runs.
        per_input_mb_s: With ``seconds``: more seconds per megabyte of input, if the input is there.
        media_s: Length of the sound that simulated results claim in MediaInfo, in seconds.
    """

    pace: Pace = Pace.WORK
    start_after: float = 0
    finish_after: float = 1
    per_input_mb_s: float = 0
    media_s: float = 60

    @property
    def simulated(self) -> bool:
        """Whether no real separation is done."""
        return self.pace is not Pace.WORK
