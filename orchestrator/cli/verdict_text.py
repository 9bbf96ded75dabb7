"""Text at the end of a rehearsal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.wording import counted

if TYPE_CHECKING:
    from orchestrator.commands.rehearse import Verdict


def verdict_text(verdict: Verdict) -> str:
    """Return the verdict of a rehearsal."""
    cost = "unknown" if verdict.cost is None else f"about {verdict.cost:,.2f} {verdict.currency}"
    lines = [
        f"rehearsal: {_judgement(verdict)}",
        *(
            f"  {state.replace('_', ' '):<12} {number:,}"
            for state, number in verdict.states.items()
            if number
        ),
        f"  duplicates   {verdict.duplicates:,}",
        f"  losses       {verdict.losses:,}",
        f"  faults       {verdict.faults_played:,} played",
        f"  calls        {verdict.calls_per_job:g} per job, {counted(verdict.jobs, 'job')}",
        f"  time         {verdict.elapsed_s:g} s",
        f"  time per job {_times(verdict)}",
        f"  would cost   {cost}",
        f"  kept in      {verdict.folder}",
    ]
    return "\n".join(lines) + "\n"


def _judgement(verdict: Verdict) -> str:
    if verdict.is_good:
        return "good"
    if verdict.is_complete:
        return "NOT GOOD"
    return f"NOT COMPLETE: {verdict.stopped}" if verdict.stopped else "NOT COMPLETE"


def _times(verdict: Verdict) -> str:
    if verdict.job_p50_s is None or verdict.job_p95_s is None:
        return "unknown: no job ended"
    return f"{verdict.job_p50_s:g} s for half of them, at most {verdict.job_p95_s:g} s for 95 %"
