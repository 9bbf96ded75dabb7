"""The end of a run, in a few lines."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

_ENDED = ("succeeded", "skipped", "failed", "rejected", "cancelled", "unfinished")
_OPEN = ("in_doubt", "running", "submitted", "submitting", "planned")
_NOTES = {
    "skipped": "done in an earlier run",
    "failed": "the report says why; --retry failed asks again",
    "rejected": "refused for good; correct them, then --retry rejected",
    "cancelled": "--retry all asks again",
    "unfinished": "lost or stuck; --retry failed looks for them again",
    "in_doubt": "sent, answer unknown; the next run looks them up",
    "planned": "not sent yet",
    "submitted": "left at the service; the next run follows them",
    "running": "left at the service; the next run follows them",
}


def summary_text(summary: dict[str, Any]) -> str:
    """The summary for people, at most 80 columns where names allow it."""
    jobs: dict[str, int] = summary["jobs"]
    calls: dict[str, int] = summary["calls"]
    lines = [
        f"run {summary['run']}: {jobs['total']:,} jobs in {timedelta(seconds=round(summary['elapsed_s']))}"
    ]
    for state in (*_ENDED, *_OPEN):
        if jobs.get(state) or state == "succeeded":
            note = _NOTES.get(state, "")
            lines.append(
                f"  {state.replace('_', ' '):<11}{jobs.get(state, 0):>9,}  {note}".rstrip()
            )
    if not jobs["total"] and summary["complete"]:
        lines.append("  nothing to do: the sources are empty, or no object was selected")
    made = ", ".join(f"{number:,} {name}" for name, number in calls.items())
    lines.append(f"calls: {made}")
    lines.append(f"report: {summary['report']}")
    return "\n".join(lines) + "\n"
