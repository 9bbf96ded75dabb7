"""Totals of a page: what is counted while its rows are written, and what the ledger knows."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

from orchestrator.domain.time_series import TimeSeries
from orchestrator.domain.wording import counted, listed
from orchestrator.reporting.export.failures import Failures
from orchestrator.reporting.row import ENDED_STATES, WELL

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

UNKNOWN = "\N{EN DASH}"
"""Text for a value that is not known."""
_MOST_GROUPS = 50
"""Groups of failures that a page lists; codes are few, unless a service makes them up."""


class Tallies:
    """Counts the rows of a page, in bounded memory."""

    def __init__(self) -> None:
        self._states: Counter[str] = Counter()
        self._media_s = 0.0
        self._failures = Failures()
        self._ends = TimeSeries(("accepted", "succeeded", "failed"))

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Count these rows."""
        self._failures.add(rows)
        for row in rows:
            state = row["state"]
            self._states[state] += 1
            self._media_s += row["media_duration_s"] or 0.0
            if state == "skipped":
                continue  # its times are those of an earlier run
            self._note(row["submitted_at"], "accepted")
            self._note(row["finished_at"], "succeeded" if state in WELL else "failed")

    def _note(self, at: str | None, name: str) -> None:
        if at is not None:
            self._ends.add(datetime.fromisoformat(at).timestamp(), name)

    def as_dict(self) -> dict[str, Any]:
        """Return the totals of the rows, ready for JSON."""
        groups = self._failures.groups()
        return {
            "jobs": self._states.total(),
            "states": {state: self._states[state] for state in ENDED_STATES},
            "media_s": round(self._media_s, 3),
            "throughput": self._ends.as_dict(),
            "failures": [
                {
                    "state": group.state,
                    "code": group.code,
                    "jobs": group.jobs,
                    "message": group.message,
                    "examples": group.examples,
                    "advice": group.advice,
                }
                for group in groups[:_MOST_GROUPS]
            ],
            "more_failures": sum(group.jobs for group in groups[_MOST_GROUPS:]),
        }


def facts_of(
    totals: Mapping[str, Any],
    *,
    manifest: str,
    run: str,
    entry: Mapping[str, Any],
    spending: Mapping[str, Any],
    still: Mapping[str, int],
    only: Collection[str] = (),
) -> dict[str, Any]:
    """Return what a page says of its run beside the counts of its rows.

    Args:
        totals: Totals of the rows.
        manifest: Name of the manifest.
        run: Id of the run, or ``all``.
        entry: What the history keeps of the run, or of all runs together.
        spending: Minutes and cost, as a summary has them.
        still: Jobs that are ``open`` or ``left``.
        only: States that were chosen, if not all rows are in the page.
    """
    verdict, verdict_text = _verdict(totals, entry, still["open"])
    if only:
        verdict_text = f"{counted(totals['jobs'], 'job')}, only {listed(sorted(only), 'and')} ones."
    cost, calls = spending.get("cost") or {}, entry.get("calls")
    text = "all jobs, as they are now" if run == "all" else run
    return {
        "run": run,
        "run_text": text,
        "manifest": manifest,
        "title": f"{manifest}: {verdict_text}",
        "verdict": verdict,
        "verdict_text": verdict_text,
        **still,
        "opened_at": entry.get("opened_at"),
        "finished_at": entry.get("finished_at"),
        "elapsed_s": entry.get("elapsed_s"),
        "minutes": spending.get("minutes"),
        "cost": cost or None,
        "by_level": spending.get("by_level", {}),
        "by_source": spending.get("by_source", {}),
        "currency": cost.get("currency", ""),
        "cost_value": cost.get("actual"),
        "cost_text": _money(cost),
        "calls": calls,
        "calls_total": None if calls is None else sum(calls.values()),
    }


def _verdict(
    totals: Mapping[str, Any], entry: Mapping[str, Any], still_open: int
) -> tuple[str, str]:
    """Return ``good``, ``open`` or ``bad``, and a sentence."""
    bad = sum(number for state, number in totals["states"].items() if state not in WELL)
    jobs = counted(totals["jobs"], "job")
    if bad:
        return "bad", f"{bad:,} of {jobs} did not succeed."
    if still_open:
        return "open", f"{counted(still_open, 'job')} still open, {jobs} ended."
    if entry.get("stopped"):
        return "open", f"Stopped early; the {jobs} that ended went well."
    if not totals["jobs"]:
        return "good", "There was nothing to do."
    return "good", f"All {jobs} succeeded." if totals["jobs"] > 1 else "The job succeeded."


def _money(cost: Mapping[str, Any]) -> str:
    if not cost:
        return UNKNOWN
    return f"{cost['actual']:,.2f} {cost['currency']}" if cost["actual"] else "free"
