"""Text at the end of a run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from orchestrator.domain.wording import counted
from orchestrator.reporting.row import ENDED_STATES

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
