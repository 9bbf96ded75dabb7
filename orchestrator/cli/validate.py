"""``orchestrator validate``: report every fault at once."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import (
    JsonOption,
    ManifestArgument,
    ServiceOption,
    SetOption,
    manifest_source,
    whole_number,
)
from orchestrator.cli.output import show, show_json


def validate(
    manifest: ManifestArgument,
    *,
    service: ServiceOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    max_faults: Annotated[
        int,
        typer.Option(
            "--max-faults",
            metavar="N",
            parser=whole_number("--max-faults", 1),
            help="Show at most this many faults.",
        ),
    ] = 50,
) -> None:
    """Check MANIFEST and its list files: every fault with file:line:column. Sends nothing.

    Objects under a prefix are not checked, because that needs the bucket; use plan.
    """
    import asyncio
    from dataclasses import asdict

    from orchestrator.commands.exit_codes import ExitCode
    from orchestrator.commands.validate import validate as check
    from orchestrator.domain.wording import counted
    from orchestrator.errors import ManifestError

    source = manifest_source(manifest, service, sets)
    try:
        jobs, remarks = asyncio.run(check(source, max_faults=max_faults))
    except ManifestError as error:
        if not json:
            raise
        faults = [asdict(fault) for fault in error.faults]
        content = {"valid": False, "faults": faults, "omitted": error.omitted}
        show_json(content, indent=False)
        raise typer.Exit(ExitCode.USAGE) from None
    if json:
        show_json({"valid": True, "jobs": jobs, "remarks": remarks}, indent=False)
    else:
        named = counted(jobs, "job")
        show(f"{manifest}: no faults; {named} named, prefixes are listed by run\n")
        show("".join(f"note: {remark}\n" for remark in remarks))
