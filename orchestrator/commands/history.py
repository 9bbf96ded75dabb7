"""Summary of a run, and the history of a manifest's runs: the last summary of each."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.commands.exit_codes import of_result
from orchestrator.commands.resources import ledger_path
from orchestrator.domain.usual_length import seconds_of_size
from orchestrator.errors import OrchestratorError
from orchestrator.ledger import open_ledger
from orchestrator.live.pace import pace_series
from orchestrator.manifest.planning.forecast import price_per_minute, source_names
from orchestrator.reporting.row import instant
from orchestrator.reporting.spending import Price, Spending, spending_of
from orchestrator.reporting.summary import Calls, Summary

if TYPE_CHECKING:
    from orchestrator.commands.options import ManifestSource
    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Run, Usage
    from orchestrator.manifest import Manifest
    from orchestrator.runner.result import RunResult

_KEPT = (
    "run",
    "complete",
    "exit_code",
    "stopped",
    "stopped_by",
    "jobs",
    "left",
    "minutes",
    "cost",
    "calls",
    "opened_at",
    "finished_at",
    "elapsed_s",
    "report",
)
"""Parts of a summary that the history keeps: those whose size does not grow with the manifest."""


def spending(manifest: Manifest, usage: list[Usage]) -> Spending:
    """Return the minutes and the cost of a run."""
    price = Price(price_per_minute(manifest), manifest.price.currency)
    return spending_of(usage, price, seconds_of_size, source_names(manifest))


def summary_of(manifest: Manifest, result: RunResult) -> Summary:
    """Return the summary of a run."""
    stopped = stopped_by = ""
    if result.error is not None:
        stopped, stopped_by = str(result.error), "error"
    elif result.cut_short is not None:
        stopped, stopped_by = result.cut_short.reason, result.cut_short.kind
    return Summary(
        result.run,
        result.counts,
        result.calls,
        result.is_complete,
        int(of_result(result)),
        stopped,
        result.started_at,
        result.ended_at,
        result.canary,
        None if result.usage is None else spending(manifest, result.usage),
        stopped_by=stopped_by,
    )


async def note_run(ledger: Ledger, summary: Summary) -> None:
    """Keep the summary of a run in the ledger; times and calls add up over its visits.

    A ledger that cannot be written keeps the history as it is: the run itself has ended.
    """
    found = summary.as_dict()
    with suppress(OrchestratorError):
        before = await entry_of(ledger, summary.run)
        entry = {key: found[key] for key in _KEPT if key in found}
        entry["visits"] = before.get("visits", 0) + 1
        entry["elapsed_s"] = round(entry["elapsed_s"] + before.get("elapsed_s", 0), 3)
        entry["calls"] = asdict(summary.calls + Calls(**before.get("calls", {})))
        await ledger.remember(_name(summary.run), orjson.dumps(entry))


async def entry_of(ledger: Ledger, run: Run) -> dict[str, Any]:
    """Return what the history keeps of a run; nothing if its process was killed."""
    found: dict[str, Any] = orjson.loads(await ledger.recall(_name(run)) or b"{}")
    return found


async def note_pace(ledger: Ledger, run: Run, pace: dict[str, Any] | None) -> None:
    """Keep how fast a run sent over time, after what earlier visits of it have noted."""
    with suppress(OrchestratorError):
        series = pace_series()
        for part in (await pace_of(ledger, run), pace):
            if part is not None:
                series.absorb(part)
        if (whole := series.as_dict()) is not None:
            await ledger.remember(_pace_name(run), orjson.dumps(whole))


async def pace_of(ledger: Ledger, run: Run) -> dict[str, Any] | None:
    """Return how fast a run sent over time, as ``Pace.as_dict`` does; None if it is not known."""
    found: dict[str, Any] | None = orjson.loads(await ledger.recall(_pace_name(run)) or b"null")
    return found


async def history(
    source: ManifestSource, *, ledger: str | None = None, last: int = 30
) -> list[dict[str, Any]]:
    """Return the last runs of a manifest, the latest first.

    Each has a ``state``: ``running``, ``open`` (stopped, and to be resumed) or ``ended``. A run
    whose process was killed lacks what its summary would say.

    Raises:
        OrchestratorError: If the manifest is faulty or the ledger cannot be read.
    """
    opened = open_ledger(ledger_path(source.load(), ledger), read_only=True)
    try:
        runs = await opened.runs(last)
        holder = await opened.holder()
        return [
            {
                "run": run.id,
                "state": _state(run, is_held=holder is not None),
                "opened_at": instant(run.opened_at),
                "finished_at": instant(run.closed_at),
                "report": run.report,
                **await entry_of(opened, run),
            }
            for run in runs
        ]
    finally:
        await opened.close()


def _name(run: Run) -> str:
    return f"history.{run.number}"


def _pace_name(run: Run) -> str:
    return f"pace.{run.number}"


def _state(run: Run, *, is_held: bool) -> str:
    if not run.resumed:
        return "ended"
    return "running" if is_held else "open"
