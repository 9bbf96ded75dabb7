"""``orchestrator status``: where the jobs of a manifest stand, also while a run is going on."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from orchestrator.cli.options import (
    JsonOption,
    LedgerOption,
    ManifestArgument,
    ServiceOption,
    SetOption,
    read_sets,
)
from orchestrator.cli.output import show, show_json

if TYPE_CHECKING:
    from orchestrator.domain.run import Counts, Holder, Run


def status(
    manifest: ManifestArgument,
    *,
    service: ServiceOption = None,
    ledger: LedgerOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Show the counts per state of the present (or last) run of MANIFEST. Reads the ledger only."""
    import asyncio

    from orchestrator.commands.resources import ledger_path
    from orchestrator.ledger import open_ledger
    from orchestrator.manifest import load_manifest
    from orchestrator.runner.heartbeat import PULSE

    async def look() -> tuple[Run | None, Counts | None, Holder | None, bytes | None]:
        opened = open_ledger(ledger_path(loaded, ledger), read_only=True)
        try:
            run = await opened.last_run()
            return (
                run,
                await opened.counts(run) if run else None,
                await opened.holder(),
                await opened.recall(PULSE),
            )
        finally:
            await opened.close()

    loaded = load_manifest(manifest, read_sets(sets), service=service)
    found = _facts(*asyncio.run(look()))
    if json:
        show_json(found)
    else:
        show(_text(found))


def _facts(
    run: Run | None, counts: Counts | None, holder: Holder | None, pulse: bytes | None
) -> dict[str, Any]:
    import orjson

    from orchestrator.domain.states import OPEN, JobState
    from orchestrator.reporting.report_file import instant

    beat = orjson.loads(pulse) if pulse and holder else {}
    rate = beat.get("rate_per_s")
    left = counts.of(*OPEN) if counts else 0
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
        "eta_s": round(left / rate) if rate else None,
        "jobs": {
            "total": counts.total if counts else 0,
            "skipped": counts.skipped if counts else 0,
            **{state.value: counts.of(state) if counts else 0 for state in JobState},
        },
    }


def _text(found: dict[str, Any]) -> str:
    if found["run"] is None:
        return "nothing was run yet\n"
    holder = found["holder"]
    idle = "open, nobody works on it" if found["open"] else "ended"
    going = f"worked on by process {holder['pid']} on {holder['host']}" if holder else idle
    lines = [f"run {found['run']}: {going}"]
    lines += [
        f"  {state.replace('_', ' '):<11}{number:>9,}"
        for state, number in found["jobs"].items()
        if number
    ]
    if found["ended_per_s"] is not None:
        eta = (
            f", about {timedelta(seconds=found['eta_s'])} left"
            if found["eta_s"] is not None
            else ""
        )
        ending = (
            f"{found['ended_per_s']:g} jobs/s end{eta}"
            if found["ended_per_s"]
            else "none ended in the last minute"
        )
        lines.append(f"{ending}; at most {found['submit_per_s']:g} jobs/s are sent")
    return "\n".join([*lines, f"report: {found['report']}"]) + "\n"
