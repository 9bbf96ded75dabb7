"""Result of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.states import OPEN

if TYPE_CHECKING:
    from orchestrator.domain.run import CanaryOutcome, Counts, Run, Usage
    from orchestrator.errors import Interruption, OrchestratorError
    from orchestrator.reporting.summary import Calls


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of a run, from its start or resumption to its end or stop.

    Attributes:
        run: The run.
        counts: Its jobs by state.
        calls: Requests made.
        started_at: When it was started or resumed.
        ended_at: When it ended or stopped.
        stopped: Why it stopped before all jobs had ended, or None.
        error: The error that stopped it, if it was one.
        is_planned: The manifest was read to its end: every job of the run is known.
        kept_back: Jobs to be retried that ended in this very run and have their row in its report.
        canary: Outcome of its canary, or None if it was to have none.
        usage: Sums over its jobs that ended, without the skipped ones; None if the run was
            interrupted: summing up a million jobs takes seconds.
        before: Result of the open run that was finished first, if there was one.
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
    canary: CanaryOutcome | None = None
    usage: list[Usage] | None = None
    before: RunResult | None = None

    @property
    def is_complete(self) -> bool:
        """True if every job of the run is known and has ended."""
        return self.is_planned and not self.counts.of(*OPEN)

    @property
    def is_over(self) -> bool:
        """True if the run is closed: complete, with its report written."""
        return self.is_complete and self.error is None

    @property
    def cut_short(self) -> Interruption | None:
        """Reason why it stopped too early, or None.

        A stop that came when nothing was left to do stopped nothing. A canary that failed is said
        even then.
        """
        is_canary = self.stopped is not None and self.stopped.kind == "canary"
        is_moot = self.is_complete and not self.kept_back and not is_canary
        return None if is_moot else self.stopped
