"""Parts of a running service, as its handlers see them."""

from __future__ import annotations

import asyncio
import functools
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, TypeVar

from aiohttp import hdrs
from multidict import istr

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from aiohttp import web

    from orchestrator.domain.ports import Clock
    from orchestrator.server.faults.player import FaultPlayer
    from orchestrator.server.http.request import Call
    from orchestrator.server.jobs.callbacks import Callbacks
    from orchestrator.server.jobs.ids import Ids
    from orchestrator.server.jobs.queues import Queues
    from orchestrator.server.jobs.scheduler import Scheduler
    from orchestrator.server.jobs.store import JobStore
    from orchestrator.server.jobs.templates import Templates
    from orchestrator.server.settings import LocalSettings
    from orchestrator.server.storage.multipart import Uploads
    from orchestrator.server.storage.objects import Objects
    from orchestrator.server.workers.exchange import Exchange

T = TypeVar("T")
_CI_REQUEST_ID, _COS_REQUEST_ID = istr("x-ci-request-id"), istr("x-cos-request-id")


@functools.lru_cache(256)
def http_date(second: int) -> str:
    """Return an instant in the form of HTTP."""
    return formatdate(second, usegmt=True)


@dataclass(slots=True)
class Parts:
    """Everything that a handler may need; ``service`` builds it once."""

    settings: LocalSettings
    clock: Clock
    ids: Ids
    store: JobStore
    queues: Queues
    templates: Templates
    objects: Objects
    uploads: Uploads
    disk: Executor
    scheduler: Scheduler
    callbacks: Callbacks
    player: FaultPlayer
    exchange: Exchange | None = None
    """Exchange with workers elsewhere, if there are any."""

    async def on_disk(self, act: Callable[..., T], *arguments: object) -> T:
        """Run a blocking function in a storage thread."""
        return await asyncio.get_running_loop().run_in_executor(self.disk, act, *arguments)

    def add_headers(self, response: web.StreamResponse, call: Call) -> None:
        """Add the headers of every answer."""
        headers = response.headers
        headers[hdrs.SERVER] = "tencent-ci" if call.ci else "tencent-cos"
        headers[hdrs.DATE] = http_date(int(call.now + call.skew_s))
        headers[_CI_REQUEST_ID] = call.request_id
        # Not documented for the job side, but the vendor's PHP client decides retries by it.
        headers[_COS_REQUEST_ID] = call.request_id
        if self.settings.control_token and not call.ci:
            # A browser that opens an object must not run it as a part of the service's own page.
            headers.setdefault("Content-Security-Policy", "sandbox")
            headers.setdefault("X-Content-Type-Options", "nosniff")
