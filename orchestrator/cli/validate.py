"""``orchestrator validate``: every fault, all at once."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.options import (
    JsonOption,
    ManifestArgument,
    ServiceOption,
    SetOption,
    read_sets,
)
from orchestrator.cli.output import show, show_json


def validate(
    manifest: ManifestArgument,
    *,
    service: ServiceOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
    max_faults: Annotated[
        int, typer.Option("--max-faults", min=1, help="Show at most this many faults.")
    ] = 50,
) -> None:
    """Check MANIFEST and its list files: every fault with file:line:column. Sends nothing.

    What only the bucket knows (the objects under a prefix) is not checked; plan does that.
    """
    import asyncio

    from orchestrator.cli.exit_codes import ExitCode
    from orchestrator.domain.wording import counted
    from orchestrator.errors import ManifestError
    from orchestrator.manifest import load_manifest
    from orchestrator.manifest.planning.spec_stream import check

    try:
        loaded = load_manifest(manifest, read_sets(sets), service=service, max_faults=max_faults)
        jobs = asyncio.run(check(loaded, max_faults))
    except ManifestError as error:
        if not json:
            raise
        faults = [
            {name: getattr(fault, name) for name in fault.__slots__} for fault in error.faults
        ]
        content = {"valid": False, "faults": faults, "omitted": error.omitted}
        show_json(content, indent=False)
        raise typer.Exit(ExitCode.USAGE) from None
    if json:
        show(f'{{"valid":true,"jobs":{jobs}}}\n')
    else:
        show(
            f"{manifest}: no fault found; {counted(jobs, 'job')} named in it, prefixes are read when it runs\n"
        )
