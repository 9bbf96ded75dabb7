"""One request, one answer, over one pool of connections.

A POST is sent at most once: aiohttp repeats a request on a stale connection only if its method is
idempotent, redirects are not followed, no middleware is installed, and
:class:`~orchestrator.client.connector.Connector` gives a POST one connection only.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from orchestrator._version import __version__
from orchestrator.client.answer import FAILURES, failure, harmless, not_sent, read_whole
from orchestrator.client.connector import SENDING, Body, Connector, Sending
from orchestrator.client.wire.request import Answer
from orchestrator.client.wire.xml import MAX_REPLY_BYTES

if TYPE_CHECKING:
    from types import TracebackType

    from orchestrator.client.departures import Departures
    from orchestrator.client.endpoint import Timeouts
    from orchestrator.client.wire.request import PreparedRequest

# Shorter than the idle time after which servers and balancers hang up (60 s and more), so that a
# POST seldom meets a dead connection.
_KEEP_ALIVE_S = 15.0
_DNS_CACHE_S = 60


class Transport:
    """A pool of connections.

    Args:
        connections: Most connections at once, over all hosts.
        timeouts: Bounds of each request.
    """

    def __init__(self, connections: int, timeouts: Timeouts) -> None:
        self.departures: Departures | None = None
        """Says when the requests of :meth:`post` may leave; None: at any time."""
        self._connections = connections
        # One timer per request: a second one, for silence, costs a seventh of a small request.
        self._bounds = aiohttp.ClientTimeout(total=timeouts.total_s, connect=timeouts.connect_s)
        self._proxies = _ProxyTable()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=Connector(
                limit=self._connections, keepalive_timeout=_KEEP_ALIVE_S, ttl_dns_cache=_DNS_CACHE_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._bounds,
            auto_decompress=False,  # a small answer must not grow into a large one
            skip_auto_headers=("Accept", "Content-Type"),
            headers={
                "User-Agent": f"voiceseparate-orchestrator/{__version__}",
                "Accept-Encoding": "identity",
            },
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def post(self, prepared: PreparedRequest) -> Answer:
        """Send a small POST once, at a moment that ``departures`` gives, and read the answer.

        Raises:
            ConnectFailed: Nothing was sent.
            ReplyTimeout: Sent, or partly; no whole answer came in time.
            SendInDoubt: Sent, or partly; no whole answer came before the connection was lost.
            ProtocolError: The answer is too large.
        """
        sending = Sending(self.departures)
        token = SENDING.set(sending)
        try:
            return await self.exchange(prepared, sending)
        finally:
            SENDING.reset(token)

    async def exchange(self, prepared: PreparedRequest, sending: Sending | None = None) -> Answer:
        """Send a request, and read the whole answer. Raises the errors of :meth:`post`."""
        url = _url(prepared.url)
        try:
            response = await self._session.request(
                prepared.method,
                url,
                headers=prepared.headers,
                data=Body(prepared.body, sending) if sending else prepared.body or None,
                allow_redirects=False,
                proxy=self._proxies.of(url),
            )
        except FAILURES as error:
            if sending is not None and sending.is_connecting and not sending.may_have_left:
                why = f"nothing was sent ({failure(prepared, error)})"
                raise not_sent(prepared, why) from harmless(error)
            raise failure(prepared, error) from harmless(error)
        try:
            body = await read_whole(response.content, MAX_REPLY_BYTES)
        except FAILURES as error:
            if response.status < 400:
                raise failure(prepared, error) from harmless(error)
            # An error status may say enough, for example to slow down.
            return Answer(response.status, response.headers, is_whole=False)
        finally:
            response.release()
        return Answer(response.status, response.headers, body)


class _ProxyTable:
    """The proxies of the environment (``https_proxy``, ``no_proxy`` ...), read once.

    aiohttp would read them again for each request, in a thread.
    """

    def __init__(self) -> None:
        self._proxies = getproxies()
        self._known: dict[tuple[str, str], str | None] = {}

    def of(self, url: URL) -> str | None:
        """Return the proxy for a URL, or None; always None for this machine's own services."""
        if not self._proxies:
            return None
        name = url.host or ""
        key = (url.scheme, name)
        if key not in self._known:
            local = name in {"localhost", "::1"} or name.startswith("127.")
            self._known[key] = (
                None if local or proxy_bypass(name) else self._proxies.get(url.scheme)
            )
        return self._known[key]


@lru_cache(maxsize=256)
def _url(text: str) -> URL:
    """Parse a URL that is percent-encoded already; submits use the same few again and again."""
    return URL(text, encoded=True)
