"""Summary of a run: its totals for ``.summary.json``, and its text for the terminal."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.states import JobState
from orchestrator.domain.wording import counted
from orchestrator.durable import write_atomically
from orchestrator.errors import ReportError
from orchestrator.reporting.report_file import present_report
from orchestrator.reporting.row import ENDED_STATES, instant

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


_OPEN = ("in_doubt", "running", "submitted", "submitting", "planned")
_NOTES = {
    "skipped": "done before",
    "failed": "see the report; retry with --retry failed",
    "rejected": "refused; correct them, then --retry rejected",
    "cancelled": "retry with --retry all",
    "unfinished": "lost or stalled; --retry failed looks for them again",
    "in_doubt": "sent, outcome unknown; the next run looks them up",
    "planned": "not sent yet",
    "submitted": "left at the service; the next run tracks them",
    "running": "left at the service; the next run tracks them",
}
LEFT_NOTE = "of earlier runs: neither sent nor cancelled"

_MAX_PARTS = 10
"""Levels or sources that are listed; the summary file has all."""
_CALLS = {"submits": "submit", "queries": "query", "lists": "list", "heads": "head"}


def summary_text(summary: dict[str, Any]) -> str:
    """Return the summary, at most 80 columns wide where names allow it."""
    jobs: dict[str, int] = summary["jobs"]
    calls: dict[str, int] = summary["calls"]
    elapsed = timedelta(seconds=round(summary["elapsed_s"]))
    lines = [f"run {summary['run']}: {counted(jobs['total'], 'job')} in {elapsed}"]
    for state in (*ENDED_STATES, *_OPEN):
        if jobs.get(state) or state == "succeeded":
            note = _NOTES.get(state, "")
            lines.append(
                f"  {state.replace('_', ' '):<11}{jobs.get(state, 0):>9,}  {note}".rstrip()
            )
    if not jobs["total"] and summary["complete"]:
        lines.append("  nothing to do: the sources are empty, or no object was selected")
    if left := summary.get("left"):
        lines.append(f"  {'left':<11}{left:>9,}  {LEFT_NOTE}")
    if (canary := summary.get("canary")) is not None:
        lines.append(_canary_text(canary))
    lines += _spending_lines(summary)
    made = ", ".join(counted(number, _CALLS[name], name) for name, number in calls.items())
    lines.append(f"calls: {made}")
    lines.append(f"report: {summary['report']}")
    if page := summary.get("page"):
        lines.append(f"page: {page}")
    if jobs.get("succeeded") or jobs.get("skipped"):
        lines += [f"stems: {place}" for place in summary.get("stems", ())]
    return "\n".join(lines) + "\n"


def _spending_lines(summary: dict[str, Any]) -> list[str]:
    """Return the minutes and the cost, and those of each level and source if there are several."""
    if not (summary.get("minutes") or {}).get("actual"):
        return []
    lines = [f"output: {spending_text(summary)}"]
    for kind, title in (("by_level", "level "), ("by_source", "")):
        parts = summary[kind]
        if 1 < len(parts) <= _MAX_PARTS:
            lines += [
                f"  {title}{name}: {counted(part['jobs'], 'job')}, {spending_text(part)}"
                for name, part in parts.items()
            ]
    return lines


def spending_text(part: dict[str, Any]) -> str:
    """Return minutes of output and their cost, as estimated and actual."""
    minutes, cost = part["minutes"], part["cost"]
    text = f"{minutes['actual']:,.1f} minutes"
    if minutes["estimated"] is not None:
        text += f" (estimated {minutes['estimated']:,.1f})"
    if cost["actual"]:
        text += f", {cost['actual']:,.2f} {cost['currency']}"
        if cost["estimated"] is not None:
            text += f" (estimated {cost['estimated']:,.2f})"
    if part["unmeasured"]:
        text += f", without {counted(part['unmeasured'], 'job')} of unknown length"
    return text


def failure_text(row: dict[str, Any]) -> str:
    """Return one line about a job that did not succeed, from its row of the report."""
    why = ": ".join(filter(None, (row["code"], row["message"])))
    return f"{row['state']} {row['input']['object']}: {why}".removesuffix(": ")


def _canary_text(canary: dict[str, Any]) -> str:
    result = canary["result"].replace("_", " ")
    succeeded = f"{canary['succeeded']:,} of {canary['jobs']:,} succeeded"
    if canary["result"] == "passed" and canary["succeeded"] < canary["jobs"]:
        succeeded = f"{counted(canary['succeeded'], 'job')}, all that there were, succeeded"
    return f"canary: {result}" + ("" if result == "not needed" else f" ({succeeded})")
