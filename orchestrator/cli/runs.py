"""``orchestrator runs``: the history of a manifest."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import typer

from orchestrator.cli.options import (
    JsonOption,
    LedgerOption,
    ManifestArgument,
    ServiceOption,
    SetOption,
    manifest_source,
    whole_number,
)
from orchestrator.cli.output import show, show_json

_TITLES = ("run", "took", "jobs", "ok", "bad", "skipped", "minutes", "cost", "exit")


def runs(
    manifest: ManifestArgument,
    *,
    service: ServiceOption = None,
    ledger: LedgerOption = None,
    sets: SetOption = None,
    last: Annotated[
        int,
        typer.Option(
            "--last",
            metavar="N",
            parser=whole_number("--last", 1),
            help="Number of runs to list.",
        ),
    ] = 30,
    json: JsonOption = False,
) -> None:
    """List the last runs of MANIFEST, the latest first. Reads the ledger only.

    Columns: id and start of the run, working time, jobs, succeeded, failed in any way, skipped,
    minutes of output, cost, exit code.
    """
    import asyncio

    from orchestrator.commands.history import history
    from orchestrator.commands.options import no_runs_text

    source = manifest_source(manifest, service, sets)
    found = asyncio.run(history(source, ledger=ledger, last=last))
    if json:
        show_json(found)
    elif not found:
        show(f"{no_runs_text(manifest)}\n")
    else:
        show(_text(found))


def _text(found: list[dict[str, Any]]) -> str:
    from orchestrator.reporting.export.text import table_lines

    # The id of a run is there to be copied: nothing is cut, however wide the terminal is.
    cells = [_cells(run) for run in found]
    return "\n".join(table_lines(_TITLES, cells, right=len(_TITLES) - 1)) + "\n"


def _cells(run: dict[str, Any]) -> tuple[str, ...]:
    """Return the cells of a run; those that a killed process did not leave are empty."""
    if "jobs" not in run:
        return (run["run"], *[""] * 7, run["state"])
    from orchestrator.reporting.row import BAD_STATES

    jobs = run["jobs"]
    minutes, cost = run.get("minutes"), run.get("cost")
    return (
        run["run"],
        str(timedelta(seconds=round(run["elapsed_s"]))),
        f"{jobs['total']:,}",
        f"{jobs['succeeded']:,}",
        f"{sum(jobs[state] for state in BAD_STATES):,}",
        f"{jobs['skipped']:,}",
        f"{minutes['actual']:,.1f}" if minutes else "",
        f"{cost['actual']:,.2f} {cost['currency']}" if cost and cost["actual"] else "",
        str(run["exit_code"]) if run["state"] == "ended" else run["state"],
    )
