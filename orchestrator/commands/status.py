"""Status of a manifest: its present or last run, from the ledger alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.commands.resources import ledger_path
from orchestrator.domain.run import PULSE, Counts
from orchestrator.domain.states import JobState
from orchestrator.ledger import open_ledger
from orchestrator.live.snapshot import STAGES, Snapshot, Stage
from orchestrator.reporting.row import instant

if TYPE_CHECKING:
    from orchestrator.commands.options import ManifestSource
    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Holder, Run


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
        beat = await _beat(opened, holder)
    finally:
        await opened.close()
    rate = beat.get("rate_per_s")
    eta_s = (beat.get("progress") or {}).get("eta_s")
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
        "eta_s": None if eta_s is None else round(eta_s),
        "left": counts.left,
        "jobs": {
            "total": counts.total,
            "skipped": counts.skipped,
            **{state.value: counts.of(state) for state in JobState},
        },
    }


def ledger_of(source: ManifestSource, ledger: str | None = None) -> str:
    """Return the ledger of a manifest.

    Raises:
        OrchestratorError: If the manifest is faulty.
    """
    return ledger_path(source.load(), ledger)


async def snapshot_of(ledger: str, now: float) -> Snapshot | None:
    """Return how the run stands that works on a ledger, or None if no process works on it.

    The ledger is opened for this one look: a reader that stays would keep the log of a run that has
    ended from being written back.

    Raises:
        OrchestratorError: If the ledger cannot be read.
    """
    opened = open_ledger(ledger, read_only=True)
    try:
        holder = await opened.holder()
        if holder is None:
            return None
        run = await opened.last_run()
        if run is None:
            return Snapshot(at=now)
        if progress := (await _beat(opened, holder)).get("progress"):
            return Snapshot.of(progress).later(now)
        return await _counted(opened, run, now, max(now - holder.since, 0.0))
    finally:
        await opened.close()


async def _beat(ledger: Ledger, holder: Holder | None) -> dict[str, Any]:
    """Return the last heartbeat of the process that works on a ledger; empty before its first."""
    pulse = await ledger.recall(PULSE) if holder else None
    beat: dict[str, Any] = orjson.loads(pulse) if pulse else {}
    # An earlier process may have left one.
    return beat if holder and beat.get("at", 0.0) >= holder.since else {}


async def _counted(ledger: Ledger, run: Run, now: float, elapsed_s: float) -> Snapshot:
    """Return what the counts alone show, before the first heartbeat of a run."""
    counts = await ledger.counts(run)
    jobs = {stage.value: 0 for stage in Stage}
    for state, stage in STAGES.items():
        jobs[stage.value] += counts.of(state)
    total = sum(jobs.values())
    work = {stage: number / total if total else 0.0 for stage, number in jobs.items()}
    return Snapshot(run.id, now, elapsed_s, jobs, work, done_before=counts.skipped)
