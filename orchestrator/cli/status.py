"""``orchestrator status``: the jobs of a manifest by state, also while a run is working."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from orchestrator.cli.options import (
    JsonOption,
    LedgerOption,
    ManifestArgument,
    ServiceOption,
    SetOption,
    manifest_source,
)
from orchestrator.cli.output import show, show_json
from orchestrator.reporting.summary_text import LEFT_NOTE


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

    from orchestrator.commands.status import status as status_of

    facts = asyncio.run(status_of(manifest_source(manifest, service, sets), ledger=ledger))
    if json:
        show_json(facts)
    else:
        show(_text(facts))


def _text(facts: dict[str, Any]) -> str:
    if facts["run"] is None:
        return "no runs yet\n"
    holder = facts["holder"]
    idle = "open, not running" if facts["open"] else "ended"
    state = f"running as process {holder['pid']} on {holder['host']}" if holder else idle
    lines = [f"run {facts['run']}: {state}"]
    lines += [
        f"  {name.replace('_', ' '):<11}{number:>9,}"
        for name, number in facts["jobs"].items()
        if number
    ]
    if facts["left"]:
        lines.append(f"  {'left':<11}{facts['left']:>9,}  {LEFT_NOTE}")
    if facts["ended_per_s"] is not None:
        eta_s = facts["eta_s"]
        eta = f", about {timedelta(seconds=eta_s)} left" if eta_s is not None else ""
        rate = facts["ended_per_s"]
        ending = f"{rate:g} jobs/s end{eta}" if rate else "no job ended in the last minute"
        lines.append(f"{ending}; the limit is {facts['submit_per_s']:g} submits/s")
    return "\n".join([*lines, f"report: {facts['report']}"]) + "\n"
