"""Summary of a run, for the terminal and for ``.summary.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.states import JobState
from orchestrator.durable import write_atomically
from orchestrator.errors import ReportError
from orchestrator.reporting.report_file import present_report
from orchestrator.reporting.row import instant

if TYPE_CHECKING:
    from orchestrator.domain.run import CanaryOutcome, Counts, Run
    from orchestrator.reporting.spending import Spending

SUMMARY_SCHEMA = "orchestrator.summary/1"


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests made: POSTs, queries, lists, HEADs of stems."""

    submits: int = 0
    queries: int = 0
    lists: int = 0
    heads: int = 0

    def __add__(self, other: Calls) -> Calls:
        """Add the requests of two runs."""
        return Calls(
            self.submits + other.submits,
            self.queries + other.queries,
            self.lists + other.lists,
            self.heads + other.heads,
        )


@dataclass(frozen=True, slots=True)
class Summary:
    """Totals of a run, from its start or resumption to its end or stop.

    Attributes:
        run: The run.
        counts: Its jobs by state.
        calls: Requests made.
        is_complete: Every job of the manifest is known and has ended.
        exit_code: Exit code of the command.
        stopped: Reason why it stopped too early, or empty.
        started_at: When it was started or resumed.
        ended_at: When it ended or stopped.
        canary: Outcome of its canary, or None.
        spending: Its minutes, cost and failures by code.
        stems: Where the stems are: folders of this machine, or addresses of buckets.
        page: Path of the page, or empty.
        stopped_by: What stopped it: ``deadline``, ``window``, ``budget``, ``canary``, ``signal`` or
            ``error``; or empty.
    """

    run: Run
    counts: Counts
    calls: Calls
    is_complete: bool
    exit_code: int
    stopped: str
    started_at: float
    ended_at: float
    canary: CanaryOutcome | None = None
    spending: Spending | None = None
    stems: tuple[str, ...] = ()
    page: str = ""
    stopped_by: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``.summary.json``.

        ``jobs`` counts ended jobs by report state and open jobs by ledger state. Those that are
        ``left`` belong to no run.
        """
        counts, run = self.counts, self.run
        by_state = {state.value: counts.by_state.get(state, 0) for state in JobState}
        return {
            "schema": SUMMARY_SCHEMA,
            "run": run.id,
            "complete": self.is_complete,
            "exit_code": self.exit_code,
            "stopped": self.stopped,
            "stopped_by": self.stopped_by,
            "jobs": {"total": counts.total, "skipped": counts.skipped, **by_state},
            "left": counts.left,
            "canary": asdict(self.canary) if self.canary else None,
            **(self.spending.as_dict() if self.spending else {}),
            "calls": asdict(self.calls),
            "opened_at": instant(run.opened_at),
            "started_at": instant(self.started_at),
            "finished_at": instant(self.ended_at),
            "elapsed_s": round(self.ended_at - self.started_at, 3),
            "report": str(present_report(Path(run.report))),
            "stems": list(self.stems),
            **({"page": self.page} if self.page else {}),
        }


def summary_path(report: Path) -> Path:
    """Return the path of a report's summary: beside it."""
    name = report.name.removesuffix(".gz").removesuffix(".jsonl")
    return report.with_name(f"{name}.summary.json")


def write_summary(path: Path, content: dict[str, Any]) -> None:
    """Write the summary atomically.

    Raises:
        ReportError: If the disk does not take it.
    """
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        write_atomically(path, orjson.dumps(content, option=option))
    except OSError as error:
        raise ReportError(f"Cannot write the summary {path}: {error.strerror or error}.") from error
