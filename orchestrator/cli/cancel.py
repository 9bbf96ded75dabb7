"""``orchestrator cancel``: cancel what is not yet running."""

from __future__ import annotations

from orchestrator.cli.options import (
    JsonOption,
    LedgerOption,
    ManifestArgument,
    ServiceOption,
    SetOption,
    read_sets,
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
    """Cancel the jobs of MANIFEST that were not sent yet or wait at the service; tell which could not be cancelled.

    What runs already goes on, and is followed by the next run.
    """
    import asyncio

    from orchestrator.commands.cancel import cancel_open_jobs
    from orchestrator.commands.options import RunOptions
    from orchestrator.commands.run import open_session
    from orchestrator.manifest import load_manifest

    async def main() -> dict[str, int]:
        async with open_session(loaded, RunOptions(ledger=ledger)) as session:
            return await cancel_open_jobs(session.parts)

    loaded = load_manifest(manifest, read_sets(sets), service=service)
    done = asyncio.run(main())
    if json:
        show_json(done, indent=False)
        return
    show(
        f"cancelled before they were sent: {done['unsent']:,}\ncancelled at the service: {done['remote']:,}\n"
        f"could not be cancelled (running, ended or in doubt): {done['kept']:,}\n"
    )
