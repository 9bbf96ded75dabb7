"""Listener for callbacks.

Callbacks are not signed. So the address cannot be guessed, and a callback is only a hint to ask
for the job sooner.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from aiohttp import web

from orchestrator.client.wire.callback import MAX_CALLBACK_BYTES, callback_jobs
from orchestrator.domain.listening import cannot_listen
from orchestrator.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

_BACKLOG = 512  # connections that may wait to be taken: a burst of a full queue's worth of jobs
_TOKEN_BYTES = 24  # 192 bits: the address cannot be guessed


def new_token() -> str:
    """Return a part of an address that cannot be guessed."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


class CallbackListener:
    """A small HTTP server for the service's callbacks; an async context manager.

    It answers every callback at once with 200 and an empty body: the vendor documents neither the
    answer it expects nor whether it tries again.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        token: The secret last part of the path.
        on_job: Called with the id of each job that a callback names.
    """

    def __init__(self, host: str, port: int, token: str, on_job: Callable[[str], None]) -> None:
        self._host = host
        self.port = port
        self._token = token
        self._on_job = on_job
        app = web.Application(client_max_size=MAX_CALLBACK_BYTES)
        app.router.add_post("/{token}", self._take)
        app.router.add_post("/{prefix:.*}/{token}", self._take)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        self.taken = 0
        """Number of readable callbacks."""

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            ConfigError: If the address cannot be listened on.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise cannot_listen("--callback-listen", self._host, self.port, error) from error
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        if not secrets.compare_digest(request.match_info["token"].encode(), self._token.encode()):
            raise web.HTTPNotFound
        try:
            jobs = callback_jobs(await request.read())
        except ProtocolError:
            return web.Response()  # forged or of another kind: the answer does not show it
        self.taken += 1
        for job in jobs:
            self._on_job(job.job_id)
        return web.Response()
