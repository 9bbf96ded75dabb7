"""Text of a plan, and of the explanation of a job."""

from __future__ import annotations

import math
import textwrap
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.commands.plan import Standing
from orchestrator.domain.wording import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.commands.plan import ExplainedJob, Forecast, PlannedObject, Preview

_TITLES = {
    Standing.NEW: "new",
    Standing.CHANGED: "changed",
    Standing.OPEN: "open",
    Standing.FAILED: "failed",
    Standing.LOST: "lost",
    Standing.REJECTED: "rejected",
    Standing.DONE: "done",
}
_COLUMNS = 80
_MAX_LOST = 10  # names that are shown; --json has all


def plan_text(preview: Preview) -> str:
    """Return the plan as a table, its cost, and notes on the numbers."""
    forecast = preview.forecast
    facts = forecast.as_dict()
    shown = [
        how for how in Standing if forecast.totals[how] or how in (Standing.NEW, Standing.DONE)
    ]
    jobs, calls = facts["jobs"], facts["calls"]
    lines = [
        f"plan of {forecast.manifest.name}: {jobs['to_do']:,} of {jobs['total']:,} jobs to do",
        "",
        f"{'':<26}" + "".join(f"{_TITLES[how]:>11}" for how in shown),
        _row("all", forecast.totals, shown),
    ]
    lines += [
        _row(f"level {level}", forecast.by_level[level], shown)
        for level in sorted(forecast.by_level, reverse=True)
    ]
    if len(forecast.by_source) > 1:
        lines += [_row(source, counts, shown) for source, counts in forecast.by_source.items()]
    submits, heads = counted(calls["submit"], "submit"), counted(calls["head"], "head")
    lines += [
        "",
        f"calls     {submits}, about {counted(calls['query'], 'query', 'queries')}, {heads}",
        f"output    {_minutes(forecast.output_minutes)}",
        f"cost      {cost_text(forecast)}",
    ]
    at_least = timedelta(seconds=math.ceil(forecast.at_least_s))
    lines.append(
        f"time      at least {at_least} under the limits; plus the service's processing time"
    )
    lines += [
        textwrap.fill(
            note,
            _COLUMNS,
            initial_indent="note      ",
            subsequent_indent=" " * 10,
            break_long_words=False,  # a path that is cut cannot be copied
            break_on_hyphens=False,
        )
        for note in forecast.notes()
    ]
    lines += [
        f"lost      {name}: finished, and its stems are missing; it would be made again"
        for name in preview.lost[:_MAX_LOST]
    ]
    lines += [f"rejected  {code}: {message}" for code, message in preview.rejected[:_MAX_LOST]]
    if (more := forecast.totals[Standing.REJECTED] - _MAX_LOST) > 0:
        lines.append(f"rejected  ... and {more:,} more")
    if len(preview.lost) > _MAX_LOST:
        lines.append(f"lost      ... and {len(preview.lost) - _MAX_LOST:,} more")
    return "\n".join(lines) + "\n"


def object_line(planned: PlannedObject) -> str:
    """Return a line for a job: sign, object, reasons, and where the manifest names it."""
    spec = planned.spec
    reasons = f": {', '.join(planned.reasons)}" if planned.reasons else ""
    origin = f"  ({spec.origin.file}:{spec.origin.line})" if spec.origin.file else ""
    return one_line(f"{planned.sign} {spec.media.key}{reasons}{origin}")


def _row(title: str, counts: Mapping[str, int], shown: Sequence[Standing]) -> str:
    return f"{title[:25]:<26}" + "".join(f"{counts[how]:>11,}" for how in shown)


def _minutes(minutes: float | None) -> str:
    return "of unknown length" if minutes is None else f"about {minutes:,.1f} minutes"


def cost_text(forecast: Forecast) -> str:
    """Return the estimated cost, and the price that it is made of."""
    price = forecast.manifest.price
    if forecast.cost is None:
        return "unknown"
    if not forecast.cost:
        return "nothing"
    return (
        f"about {forecast.cost:,.2f} {price.currency}, at {price.per_minute:g} per minute of output"
    )


def explanation_text(jobs: Sequence[ExplainedJob]) -> str:
    """Return each value of the jobs with its origin."""
    blocks: list[str] = []
    for job in jobs:
        variant = f" ({job.variant})" if job.variant else ""
        lines = [f"{job.spec.media.key}{variant}: job {job.spec.key}"]
        width = max(len(value.name) for value in job.values)
        for value in job.values:
            note = f"  {value.note}" if value.note else ""
            lines.append(f"  {value.name:<{width}}  {value.value or '-'}  [{value.origin}]{note}")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"
