"""``orchestrator status``: the jobs of a manifest by state, also while a run is working."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.options import (
    JsonOption,
    LedgerOption,
    ManifestArgument,
    ServiceOption,
    SetOption,
    manifest_source,
)
from orchestrator.cli.output import show, show_json
from orchestrator.live.snapshot import Snapshot, left_text

if TYPE_CHECKING:
    from orchestrator.commands.options import ManifestSource

_LOOK_EVERY_S = 1.0
"""Time between two looks at the ledger; a run writes into it every five seconds."""
_LINE_EVERY_S = 60.0
"""Time between two lines where there is no terminal."""

WatchOption = Annotated[
    bool, typer.Option("--watch", help="Show the run as it works, until it ends or Ctrl-C.")
]


def status(
    manifest: ManifestArgument,
    *,
    service: ServiceOption = None,
    ledger: LedgerOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    watch: WatchOption = False,
) -> None:
    """Show the counts per state of the present (or last) run of MANIFEST. Reads the ledger only."""
    import asyncio

    from orchestrator.commands.options import no_runs_text
    from orchestrator.commands.status import status as status_of
    from orchestrator.errors import ConfigError

    source = manifest_source(manifest, service, sets)
    if watch:
        if json:
            raise ConfigError("--watch shows a display; write either --watch or --json.")
        try:
            asyncio.run(_watch(source, ledger))
        except KeyboardInterrupt:  # the way to leave it
            return
    facts = asyncio.run(status_of(source, ledger=ledger))
    if json:
        show_json(facts)
    else:
        show(_text(facts) if facts["run"] is not None else f"{no_runs_text(manifest)}\n")


async def _watch(source: ManifestSource, ledger: str | None) -> None:
    """Show a run as its own terminal shows it, until no process works on it."""
    from contextlib import ExitStack

    from rich.console import Console

    from orchestrator.cli.interpreter import tune
    from orchestrator.commands.status import ledger_of, snapshot_of
    from orchestrator.domain.clock import SystemClock
    from orchestrator.live.event_log import counts_line
    from orchestrator.live.progress import LivePanel

    tune()
    clock, console = SystemClock(), Console(stderr=True)
    is_live = console.is_terminal and not console.is_dumb_terminal
    place = ledger_of(source, ledger)
    seen = latest = await snapshot_of(place, clock.now())
    written_at = -math.inf
    with ExitStack() as stack:
        if is_live and latest is not None:
            stack.enter_context(LivePanel(console, lambda: _at(latest, clock.now())))
        while seen is not None:
            latest = seen
            if not is_live and clock.monotonic() >= written_at + _LINE_EVERY_S:
                written_at = clock.monotonic()
                show(f"{counts_line(latest)}\n")
            await clock.sleep(_LOOK_EVERY_S)
            seen = await snapshot_of(place, clock.now())


def _at(seen: Snapshot | None, now: float) -> Snapshot:
    return Snapshot() if seen is None else seen.later(now)


def _text(facts: dict[str, Any]) -> str:
    from orchestrator.reporting.summary import LEFT_NOTE

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
        eta = f", about {left_text(eta_s)} left" if eta_s is not None else ""
        rate = facts["ended_per_s"]
        ending = f"{rate:g} jobs/s end{eta}" if rate else "no job ended in the last minute"
        lines.append(f"{ending}; the limit is {facts['submit_per_s']:g} submits/s")
    return "\n".join([*lines, f"report: {facts['report']}"]) + "\n"
