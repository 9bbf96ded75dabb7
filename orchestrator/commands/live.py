"""The live page of a run: what ``--live`` shows, from its ledger and its events."""

from __future__ import annotations

import asyncio
import contextlib
import io
import math
import mimetypes
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.commands.page import live_page, live_totals
from orchestrator.commands.report import next_rows
from orchestrator.commands.stems import bucket_folders
from orchestrator.domain.events import PageOpened, RunStarted
from orchestrator.domain.value_formats import LOCAL_BUCKET
from orchestrator.ledger import open_ledger
from orchestrator.live.metrics import Metrics
from orchestrator.live.server import LiveServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from prometheus_client import CollectorRegistry

    from orchestrator.commands.options import LiveAddress
    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Ledger
    from orchestrator.live.tally import Tally
    from orchestrator.manifest import Manifest
    from orchestrator.runner.ports import Ports

TOKEN_VARIABLE = "ORCHESTRATOR_LIVE_TOKEN"  # noqa: S105 - the name of a variable
_STARTING = b"""<!doctype html><html lang="en"><meta charset="utf-8">
<meta http-equiv="refresh" content="1"><title>Starting</title><p>The run is starting.</p></html>"""
_LEAST_AGE_S = 2.0
"""Totals are not made again before this time ..."""
_SHARE = 20.0
"""... nor before this many times the time that they took: a large run works, and is not counted."""


class LiveRun:
    """One run, as the live server reads it (an event sink, too).

    Args:
        manifest: Its manifest.
        ports: Its ports.
        tally: Counts of the run as it goes.
        facts: Returns totals of the page that the ledger does not have yet: ``calls``, ``pace``.
        ledger: Its ledger, opened to read.
        location: Where that is.
    """

    def __init__(
        self,
        manifest: Manifest,
        ports: Ports,
        tally: Tally,
        facts: Callable[[], dict[str, Any]],
        ledger: Ledger,
        location: str,
    ) -> None:
        self._manifest = manifest
        self._tally = tally
        self._facts = facts
        self._ledger = ledger
        self._location = location
        self._folder_of = bucket_folders(manifest, location)
        self._clock = ports.clock
        self._metrics = Metrics(tally, manifest.name, ports.submit_limiter.rate_per_s)
        self._totals: dict[str, Any] = {}
        self._due_at = -math.inf
        self._counting = asyncio.Lock()
        self._are_last = False
        self.run = ""

    def emit(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, RunStarted):
            self.run, self._due_at = event.run, -math.inf
        self._metrics.emit(event)

    @property
    def registry(self) -> CollectorRegistry:
        """Its metrics."""
        return self._metrics.registry

    def now(self) -> dict[str, Any]:
        """Return the run at this moment."""
        return self._tally.snapshot().as_dict()

    async def rows(self, after: int) -> tuple[list[Any], int]:
        """Return rows of the report behind this number, and the number of the last of them."""
        run = await self._ledger.last_run()
        if run is None or run.id != self.run:
            return [], after
        rows, last = await next_rows(self._ledger, run, after, self._folder_of)
        return [each for each in rows if each["state"] != "skipped"], last

    async def totals(self, *, is_last: bool) -> dict[str, Any]:
        """Return the totals of the page; of the last ones, all who watch receive the same."""
        async with self._counting:
            began = self._clock.monotonic()
            is_new = is_last and not self._are_last
            self._are_last = is_last
            if is_new or began >= self._due_at:
                self._totals = await self._in_thread(live_totals) if self.run else {}
                took_s = self._clock.monotonic() - began
                self._due_at = began + took_s + max(_LEAST_AGE_S, _SHARE * took_s)
            facts = self._facts()
            elapsed_s = round(self._tally.snapshot().elapsed_s)
            sums = {"elapsed_s": elapsed_s, "calls_total": sum(facts["calls"].values())}
            return {**self._totals, **facts, **sums}

    async def page(self) -> bytes:
        """Return the page as it is now."""
        if not self.run:
            return _STARTING
        file = io.BytesIO()
        await self._in_thread(live_page, self._clock, file)
        return file.getvalue()

    async def _in_thread(self, act: Any, *arguments: Any) -> Any:
        """Read the ledger beside the run: a long report must not hold it up."""
        manifest, location, run = self._manifest, self._location, self.run

        def read() -> Any:
            return asyncio.run(act(manifest, location, run, *arguments))

        return await asyncio.to_thread(read)

    def media(self, bucket: str, key: str) -> Path | None:
        """Return a sound or a film in a bucket on this machine; None for every other file."""
        is_bucket = LOCAL_BUCKET.fullmatch(bucket) is not None  # a name, and no path
        folder = self._folder_of(bucket) if self._folder_of and is_bucket else None
        kind = mimetypes.guess_type(key)[0] or ""
        if folder is None or not kind.startswith(("audio/", "video/")):
            return None
        with contextlib.suppress(OSError, ValueError):  # a name that no file can have
            root = Path(folder).resolve()
            path = (root / key).resolve()
            if path.is_relative_to(root) and path.is_file():
                return path
        return None


@contextlib.asynccontextmanager
async def live(
    address: LiveAddress,
    manifest: Manifest,
    ports: Ports,
    tally: Tally,
    facts: Callable[[], dict[str, Any]],
    location: str,
) -> AsyncIterator[LiveRun]:
    """Show a run at an address while it works; see :class:`LiveRun`.

    Raises:
        ConfigError: If the address cannot be listened on.
    """
    ledger = open_ledger(location, read_only=True)
    try:
        shown = LiveRun(manifest, ports, tally, facts, ledger, location)
        token = os.environ.get(TOKEN_VARIABLE, "")
        async with LiveServer(
            address.host, address.port, shown, ports.clock.sleep, token
        ) as server:
            ports.sink.emit(PageOpened(server.url, is_known=server.is_known))
            yield shown
    finally:
        await ledger.close()
