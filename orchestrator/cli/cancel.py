"""``orchestrator cancel``: cancel what is not yet running."""

from __future__ import annotations

from orchestrator.cli.options import (
    JsonOption,
    LedgerOption,
    LeftOption,
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
    left: LeftOption = False,
    json: JsonOption = False,
) -> None:
    """Cancel the jobs of MANIFEST that were not sent yet or wait at the service.

    Running jobs continue; the next run tracks them. Prints how many could not be cancelled.
    With --left: cancel exactly the jobs of earlier runs that were not sent and that MANIFEST no
    longer names.
    """
    import asyncio

    from orchestrator.commands.cancel import cancel as cancel_jobs
    from orchestrator.commands.cancel import cancel_left

    source = manifest_source(manifest, service, sets)
    if left:
        done = asyncio.run(cancel_left(source, ledger=ledger))
        if json:
            show_json(done, indent=False)
            return
        others = f"kept, because another manifest of this ledger named them: {done['others']:,}\n"
        show(
            f"cancelled, left by earlier runs: {done['left']:,}\n"
            + (others if done["others"] else "")
        )
        return
    done = asyncio.run(cancel_jobs(source, ledger=ledger))
    if json:
        show_json(done, indent=False)
        return
    show(
        f"cancelled before they were sent: {done['unsent']:,}\n"
        f"cancelled at the service: {done['remote']:,}\n"
        f"could not be cancelled (running, ended or in doubt): {done['kept']:,}\n"
    )
