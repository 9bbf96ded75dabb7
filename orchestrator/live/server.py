"""A small HTTP server that shows a run while it works; it reads, and changes nothing.

=============  ====================================================================
``/``          the report page with the jobs that have ended, kept up to date
``/events``    server-sent events: new rows of the report, totals, the run now
``/media/``    sounds and films in the run's buckets, if these are on this machine
``/metrics``   metrics for Prometheus
``/healthz``   200 while the run works
=============  ====================================================================

Nothing is kept for those who watch. The id of an event is the number of a row of the report, so a
browser that connects again continues where it was.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from orchestrator.domain.listening import cannot_listen
from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path
    from types import TracebackType
    from typing import Self

TICK_S = 1.0
"""Pause between two looks for news."""
_MOST_WATCHERS = 32
_PARTING_S = 5.0
"""Time in which those who watch receive the last news; a browser that sleeps does not take it."""
# Requests may carry the token: they stay out of the run's log.
_SILENT = logging.getLogger("orchestrator.live.server")
_SILENT.propagate = False
_SILENT.addHandler(logging.NullHandler())
_EVERYWHERE = ("0.0.0.0", "::")
_COOKIE = "orchestrator_live"
_CLOSED = (
    "This page belongs to a run. Open the address that the run printed when it began: it ends in "
    "?token=...\n"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Watched(Protocol):
    """The run that is shown."""

    @property
    def registry(self) -> CollectorRegistry:
        """Its metrics."""
        ...

    @property
    def run(self) -> str:
        """Its id; empty before it began."""
        ...

    async def page(self) -> bytes:
        """Return the page as it is now."""
        ...

    async def rows(self, after: int) -> tuple[list[Any], int]:
        """Return rows of the report behind this number, and the number of the last of them."""
        ...

    def now(self) -> dict[str, Any]:
        """Return the run at this moment."""
        ...

    async def totals(self, *, is_last: bool) -> dict[str, Any]:
        """Return the totals of the page; before the run has ended, perhaps somewhat older ones."""
        ...

    def media(self, bucket: str, key: str) -> Path | None:
        """Return a sound or a film in a bucket on this machine; None for every other file."""
        ...


class LiveServer:
    """The server; an async context manager.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        watched: The run.
        sleep: Wait for some seconds.
        token: What those who watch must know; empty: a new one. Other machines reach an address
            that is not loopback, so only there it is asked for.
    """

    def __init__(
        self,
        host: str,
        port: int,
        watched: Watched,
        sleep: Callable[[float], Awaitable[None]],
        token: str = "",
    ) -> None:
        is_drawn = not is_loopback(host) and not token
        self.is_known = bool(port) and not is_drawn
        """The address can be known before: no port was picked, and no token was drawn."""
        self._host = host
        self._port = port
        self._watched = watched
        self._sleep = sleep
        self._token = "" if is_loopback(host) else token or secrets.token_urlsafe(24)
        self._watchers = 0
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/", self._page)
        app.router.add_get("/events", self._events)
        app.router.add_get("/media/{bucket}/{key:.+}", self._media)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._health)
        # Browsers keep their connections open; the run does not wait for them.
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=0.5, logger=_SILENT
        )
        self._is_closing = asyncio.Event()
        self._have_left = asyncio.Event()

    @property
    def url(self) -> str:
        """Address of the page, for those who may see it."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        if self._host in _EVERYWHERE:
            host = socket.gethostname()
        token = f"?token={quote(self._token, safe='')}" if self._token else ""
        return f"http://{host}:{self._port}/{token}"

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            ConfigError: If the address cannot be listened on.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise cannot_listen("--live", self._host, self._port, error) from error
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Tell those who watch that the run has ended, and stop listening."""
        self._is_closing.set()
        if self._watchers:
            await self._until(self._have_left, _PARTING_S)
        await self._runner.cleanup()

    # --- who may look

    @web.middleware
    async def _guarded(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        if not self._token and not _is_own_name(request.host, self._host):
            # A page of another site may have made its own name lead here.
            raise web.HTTPForbidden(text=f"{request.host} is not a name of this machine.\n")
        if self._token and request.path != "/healthz" and not self._is_known(request):
            raise web.HTTPUnauthorized(text=_CLOSED, headers={"WWW-Authenticate": "Bearer"})
        try:
            response = await handler(request)
        except OrchestratorError as error:  # for example a database that is away
            raise web.HTTPServiceUnavailable(text=f"{error}\n") from error
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    def _is_known(self, request: web.Request) -> bool:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = (
            request.query.get("token", ""),
            request.cookies.get(_COOKIE, ""),
            bearer if scheme.lower() == "bearer" else "",
        )
        return any(secrets.compare_digest(each.encode(), self._token.encode()) for each in given)

    # --- what there is to see

    async def _page(self, request: web.Request) -> web.Response:
        if self._token and "token" in request.query:  # keep it out of the address bar
            found = web.Response(status=303, headers={"Location": "/"})
            found.set_cookie(_COOKIE, self._token, httponly=True, samesite="Strict")
            return found
        return web.Response(body=await self._watched.page(), content_type="text/html")

    async def _metrics(self, _: web.Request) -> web.Response:
        body = generate_latest(self._watched.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "running", "run": self._watched.run})

    async def _media(self, request: web.Request) -> web.StreamResponse:
        named = request.match_info
        path = await asyncio.to_thread(self._watched.media, named["bucket"], named["key"])
        if path is None:
            raise web.HTTPNotFound(text="There is no such sound.\n")
        return web.FileResponse(path)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._watchers >= _MOST_WATCHERS:
            text = f"{_MOST_WATCHERS} pages show this run already. Close one.\n"
            raise web.HTTPServiceUnavailable(text=text, headers={"Retry-After": "30"})
        last = request.headers.get("Last-Event-ID") or request.query.get("after", "")
        run, _, row = last.rpartition("/")
        stream = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
        self._watchers += 1
        self._have_left.clear()
        try:
            await stream.prepare(request)
            with suppress(ConnectionError):  # it has left
                await self._tell(stream, run, int(row) if row.isdecimal() else 0)
        finally:
            self._watchers -= 1
            if not self._watchers:
                self._have_left.set()
        return stream

    async def _tell(self, stream: web.StreamResponse, run: str, after: int) -> None:
        """Send news until the run or the connection ends."""
        sent: dict[str, Any] = {}
        while True:
            is_last = self._is_closing.is_set()
            run = run or self._watched.run
            if run != self._watched.run:  # the run before it was finished first
                await stream.write(_event("reload", {}))
                return
            while True:
                rows, after = await self._watched.rows(after)
                if not rows:
                    break
                await stream.write(_event("rows", rows, f"{run}/{after}"))
            totals = await self._watched.totals(is_last=is_last)
            news = {name: each for name, each in totals.items() if sent.get(name) != each}
            sent = totals
            if news:
                await stream.write(_event("totals", news))
            await stream.write(_event("now", self._watched.now()))
            if is_last:
                await stream.write(_event("end", {}))
                return
            await self._until(self._is_closing, TICK_S)

    async def _until(self, event: asyncio.Event, at_most_s: float) -> None:
        """Wait for an event, but not longer than this."""
        waits = {asyncio.ensure_future(wait) for wait in (event.wait(), self._sleep(at_most_s))}
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()


def _event(kind: str, content: Any, number: str = "") -> bytes:
    head = f"id: {number}\n" if number else ""
    return f"{head}event: {kind}\ndata: ".encode() + orjson.dumps(content) + b"\n\n"


def is_loopback(host: str) -> bool:
    """Return True if only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_own_name(authority: str, host: str) -> bool:
    """Return True if a Host header names loopback, and not a name that leads there."""
    name = authority.rpartition(":")[0] if authority.rpartition(":")[2].isdecimal() else authority
    bare = name.strip("[]") or authority.strip("[]")
    return bare == host or is_loopback(bare)
