"""``orchestrator serve``: the local service on its own."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer


def serve(
    *,
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="Folder of the objects: DIR/BUCKET/KEY.", show_default=False)],
    listen: Annotated[str, typer.Option("--listen", metavar="HOST:PORT", help="Address to listen on.")] = "127.0.0.1:8080",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Jobs at once; one per processor if not given.", show_default=False)
    ] = None,
) -> None:
    """Serve the job API and the object storage of ROOT, separating for real, until interrupted.

    The key pair comes from TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY, or is made once and kept in DIR/.service.
    """
    import asyncio
    import os

    from orchestrator.cli.readings import read_address
    from orchestrator.cli.stopping import stop_on_signals
    from orchestrator.clock import SystemClock
    from orchestrator.local.keys import keys_for
    from orchestrator.local.service import LocalService
    from orchestrator.local.settings import LocalSettings

    host, port = read_address("--listen", listen)
    keys = keys_for(root, os.environ)

    async def main() -> None:
        settings = LocalSettings(root=root.resolve(), host=host, port=port, credentials=(keys,), max_concurrent=workers)
        over = asyncio.Event()
        async with LocalService(settings, SystemClock()) as service:
            sys.stdout.write(f"serving {root} on {service.url}\nsecret id:  {keys.secret_id}\nsecret key: {keys.secret_key}\n")
            sys.stdout.flush()
            with stop_on_signals(lambda _: over.set()):
                await over.wait()

    asyncio.run(main())
