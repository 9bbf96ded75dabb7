"""Counts, rate and time left of a run, in words."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.live.snapshot import Stage

if TYPE_CHECKING:
    from orchestrator.live.snapshot import Snapshot


def duration_text(seconds: float) -> str:
    """Return ``0:05``, ``1:02:03`` or ``2 days, 1:02:03``."""
    text = str(timedelta(seconds=int(seconds)))
    return (
        text.removeprefix("0:").removeprefix("0")
        if text.startswith("0:0")
        else (text.removeprefix("0:"))
    )


def left_text(seconds: float) -> str:
    """Return a time left as roughly as it is known: ``40 s``, ``7 min``, ``2 h 10 min``."""
    if seconds < 90:
        return f"{max(round(seconds / 5) * 5, 5)} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, minutes = divmod(round(minutes / 5) * 5, 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{round(minutes / 60 / 24, 1):g} days"


def counts_text(snapshot: Snapshot) -> str:
    """Return the number of jobs in each stage that has any."""
    total = f"{snapshot.total:,}" if snapshot.is_planned else f"{snapshot.total:,}+"
    parts = [f"{snapshot.ended:,} of {total}"]
    shown = (Stage.FAILED, Stage.IN_DOUBT, Stage.RUNNING, Stage.QUEUED, Stage.WAITING)
    parts += [
        f"{snapshot.jobs[stage]:,} {stage.value}" for stage in shown if snapshot.jobs.get(stage)
    ]
    if snapshot.done_before:
        parts.append(f"{snapshot.done_before:,} done before")
    return ", ".join(parts)


def pace_text(snapshot: Snapshot) -> str:
    """Return rate, time left and cost, as far as they mean something."""
    parts = []
    if snapshot.rate_per_s:
        per_s = snapshot.rate_per_s
        parts.append(f"{per_s:,.1f} jobs/s" if per_s >= 1 else f"{60 * per_s:,.1f} jobs/min")
    if snapshot.is_stopping:
        parts.append("stopping")
    elif snapshot.eta_s is not None:
        parts.append(f"about {left_text(snapshot.eta_s)} left")
    if snapshot.currency:
        parts.append(f"cost {snapshot.cost:,.2f} {snapshot.currency}")
    return ", ".join(parts)
