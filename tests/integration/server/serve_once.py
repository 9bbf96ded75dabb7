"""Runs a local service until it is killed, and prints its address.

Usage: ``serve_once.py ROOT WORK SECRET_ID SECRET_KEY``.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from orchestrator.domain.clock import SystemClock
from orchestrator.server.http.key_pairs import KeyPair
from orchestrator.server.service import LocalService
from orchestrator.server.settings import LocalSettings


async def main() -> None:
    """Run the service."""
    root, work, secret_id, secret_key = sys.argv[1:]
    settings = LocalSettings(Path(root), credentials=(KeyPair(secret_id, secret_key),), work=work)
    async with LocalService(settings, SystemClock()) as service:
        sys.stdout.write(service.url + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


asyncio.run(main())
