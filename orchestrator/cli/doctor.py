"""``orchestrator doctor``: check everything that can be checked before money is spent."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from orchestrator.cli import options as opt
from orchestrator.cli.output import show, show_json


def doctor(
    manifest: Annotated[
        Path | None,
        typer.Argument(metavar="[MANIFEST]", help="Check this manifest, too.", show_default=False),
    ] = None,
    *,
    service: opt.ServiceOption = None,
    ledger: opt.LedgerOption = None,
    report: opt.ReportOption = None,
    sets: opt.SetOption = None,
    engine: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Check a model file: what it is, and whether it separates on this machine.",
            show_default=False,
        ),
    ] = None,
    json: opt.JsonOption = False,
) -> None:
    """Check this machine, and MANIFEST with its folders, ledger, credentials and buckets.

    One line per check, with the fix. Nothing is sent that costs money, and nothing is written.
    Exit codes: 0 all is well, 3 something has to be fixed.
    """
    import asyncio
    from dataclasses import asdict

    from orchestrator.commands.doctor import examine
    from orchestrator.commands.exit_codes import ExitCode
    from orchestrator.commands.options import RunOptions

    source = None if manifest is None else opt.manifest_source(manifest, service, sets)
    options = RunOptions(ledger=ledger, report=report)
    found = asyncio.run(examine(source, options, model=engine))
    if json:
        show_json({"good": found.is_good, "checks": [asdict(check) for check in found.checks]})
    else:
        lines = [f"{check.status:<5} {check.name}: {check.text}" for check in found.checks]
        show("\n".join(lines) + "\n")
    raise typer.Exit(ExitCode.OK if found.is_good else ExitCode.CREDENTIALS)
