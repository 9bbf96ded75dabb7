"""``orchestrator cancel``: cancel what is not yet running."""

from __future__ import annotations

from orchestrator.cli.options import (
    JsonOption,
    LedgerOption,
    ManifestArgument,
    ServiceOption,
    SetOption,
    manifest_source,
)
from orchestrator.cli.output import show, show_json


def cancel(
    manifest: ManifestArgument,
    *,
    service: ServiceOption = None,
    ledger: LedgerOption = None,
    sets: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Cancel the jobs of MANIFEST that were not sent yet or wait at the service.

    Running jobs continue; the next run tracks them. Prints how many could not be cancelled.
    """
    import asyncio

    from orchestrator.commands.cancel import cancel as cancel_jobs

    source = manifest_source(manifest, service, sets)
    done = asyncio.run(cancel_jobs(source, ledger=ledger))
    if json:
        show_json(done, indent=False)
        return
    show(
        f"cancelled before they were sent: {done['unsent']:,}\n"
        f"cancelled at the service: {done['remote']:,}\n"
        f"could not be cancelled (running, ended or in doubt): {done['kept']:,}\n"
    )
