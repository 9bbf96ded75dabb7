"""Text of a plan, and of the explanation of a job."""

from __future__ import annotations

import math
import textwrap
from datetime import timedelta
from typing import TYPE_CHECKING

from orchestrator.commands.plan import Standing
from orchestrator.domain.wording import counted, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
_TITLE = 26
_NUMBER = 11
"""Widths of the columns."""
_MAX_LOST = 10  # names that are shown; --json has all


def plan_text(preview: Preview, columns: int = 80) -> str:
    """Return the plan as a table, its cost, and notes on the numbers.

    Args:
        preview: The plan.
        columns: Width of the terminal. Paths and names are never cut.
    """
    forecast = preview.forecast
    facts = forecast.as_dict()
    jobs = facts["jobs"]
    lines = [
        f"plan of {forecast.manifest.name}: {jobs['to_do']:,} of {jobs['total']:,} jobs to do",
        "",
        *_table(forecast, columns),
        "",
    ]
    lines += [_filled(title, text, columns) for title, text in _facts(forecast, facts["calls"])]
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


def _table(forecast: Forecast, columns: int) -> list[str]:
    """Return the counts of all jobs, of each level and of each source."""
    shown = [
        how for how in Standing if forecast.totals[how] or how in (Standing.NEW, Standing.DONE)
    ]
    width = max(min(_TITLE, columns - _NUMBER * len(shown)), _NUMBER)

    def row(title: str, counts: Mapping[str, int]) -> str:
        numbers = "".join(f"{counts[how]:>{_NUMBER},}" for how in shown)
        return f"{title[: width - 1]:<{width}}{numbers}"

    head = f"{'':<{width}}" + "".join(f"{_TITLES[how]:>{_NUMBER}}" for how in shown)
    lines = [head, row("all", forecast.totals)]
    lines += [
        row(f"level {level}", forecast.by_level[level])
        for level in sorted(forecast.by_level, reverse=True)
    ]
    if len(forecast.by_source) > 1:
        lines += [row(source, counts) for source, counts in forecast.by_source.items()]
    return lines


def _facts(forecast: Forecast, calls: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Yield what the run would take, each with its title, and the notes."""
    submits, heads = counted(calls["submit"], "submit"), counted(calls["head"], "head")
    yield "calls", f"{submits}, about {counted(calls['query'], 'query', 'queries')}, {heads}"
    yield "output", _minutes(forecast.output_minutes)
    yield "cost", cost_text(forecast)
    at_least = timedelta(seconds=math.ceil(forecast.at_least_s))
    yield "time", f"at least {at_least} under the limits; plus the service's processing time"
    for note in forecast.notes():
        yield "note", note


def _filled(title: str, text: str, columns: int) -> str:
    return textwrap.fill(
        text,
        columns,
        initial_indent=f"{title:<10}",
        subsequent_indent=" " * 10,
        break_long_words=False,  # a path that is cut cannot be copied
        break_on_hyphens=False,
    )


def object_line(planned: PlannedObject) -> str:
    """Return a line for a job: sign, object, reasons, and where the manifest names it."""
    spec = planned.spec
    reasons = f": {', '.join(planned.reasons)}" if planned.reasons else ""
    origin = f"  ({spec.origin.file}:{spec.origin.line})" if spec.origin.file else ""
    return one_line(f"{planned.sign} {spec.media.key}{reasons}{origin}")


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
