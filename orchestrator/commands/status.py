"""Status of a manifest: its present or last run, from the ledger alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.commands.resources import ledger_path
from orchestrator.domain.run import Counts
from orchestrator.domain.states import OPEN, JobState
from orchestrator.ledger import open_ledger
from orchestrator.reporting.row import instant
from orchestrator.runner.heartbeat import PULSE

if TYPE_CHECKING:
    from orchestrator.commands.options import ManifestSource


async def status(source: ManifestSource, *, ledger: str | None = None) -> dict[str, Any]:
    """Return the facts that ``orchestrator status --json`` shows, also while a run is working.

    Raises:
        OrchestratorError: If the manifest is faulty or the ledger cannot be read.
    """
    opened = open_ledger(ledger_path(source.load(), ledger), read_only=True)
    try:
        run = await opened.last_run()
        counts = await opened.counts(run) if run else Counts()
        holder = await opened.holder()
        pulse = await opened.recall(PULSE)
    finally:
        await opened.close()
    beat = orjson.loads(pulse) if pulse and holder else {}
    rate = beat.get("rate_per_s")
    return {
        "run": run.id if run else None,
        "open": bool(run and run.resumed),
        "report": run.report if run else None,
        "opened_at": instant(run.opened_at) if run else None,
        "holder": {"host": holder.host, "pid": holder.pid, "since": instant(holder.since)}
        if holder
        else None,
        "ended_per_s": rate,
        "submit_per_s": beat.get("submit_per_s"),
        "eta_s": round(counts.of(*OPEN) / rate) if rate else None,
        "left": counts.left,
        "jobs": {
            "total": counts.total,
            "skipped": counts.skipped,
            **{state.value: counts.of(state) for state in JobState},
        },
    }
