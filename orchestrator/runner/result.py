"""How a visit to a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.states import OPEN

if TYPE_CHECKING:
    from orchestrator.domain.run import Counts, Run
    from orchestrator.errors import Interruption, OrchestratorError
    from orchestrator.reporting.report_file import Calls


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a visit to a run ended.

    Attributes:
        run: The run.
        counts: Its jobs by state.
        calls: Requests made by this visit.
        started_at: When this visit began.
        ended_at: When it ended.
        stopped: Why it stopped before all jobs had ended, or None.
        error: What stopped it, if that was an error.
        is_planned: The manifest was read to its end: every job of the run is known.
        kept_back: Jobs that should be asked for again, but ended in this very run, and have their row in its report.
        before: How the open run ended that was finished first, if there was one.
    """

    run: Run
    counts: Counts
    calls: Calls
    started_at: float
    ended_at: float
    stopped: Interruption | None = None
    error: OrchestratorError | None = None
    is_planned: bool = True
    kept_back: int = 0
    before: RunResult | None = None

    @property
    def is_complete(self) -> bool:
        """Every job of the run is known, and has ended."""
        return self.is_planned and not self.counts.of(*OPEN)

    @property
    def is_over(self) -> bool:
        """The run is closed: it is complete, and no error stands in the way of its report."""
        return self.is_complete and self.error is None

    @property
    def cut_short(self) -> Interruption | None:
        """What stopped it before all was done, or None: a stop that came when nothing was left to do has stopped nothing."""
        return None if self.is_complete and not self.kept_back else self.stopped
