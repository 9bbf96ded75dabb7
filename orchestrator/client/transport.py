"""One request, one answer, over one pool of connections.

What makes ``POST /jobs`` safe here: aiohttp repeats a request on a stale connection only if its method is idempotent, redirects are
not followed, no middleware is installed, and nothing in this module sends twice. Submits go the short way (``direct``) where they can.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Self
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from orchestrator._version import __version__
from orchestrator.client.direct import DirectPost, is_open
from orchestrator.client.outcome import FAILURES, Answer, failure, harmless, not_sent, read_whole
from orchestrator.client.wire.xml import MAX_REPLY_BYTES
from orchestrator.errors import ConnectFailed, ProtocolError, TransportError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from types import TracebackType

    from aiohttp.abc import AbstractStreamWriter

    from orchestrator.client.endpoint import Timeouts
    from orchestrator.client.pacer import Departures
    from orchestrator.client.wire.request import PreparedRequest

# Shorter than the idle time after which servers and balancers hang up (60 s and more), so that a POST seldom meets a dead connection.
_KEEP_ALIVE_S = 15.0
_DNS_CACHE_S = 60
_PIECE_BYTES = 1 << 18
_HEADERS = {
    "User-Agent": f"voiceseparate-orchestrator/{__version__}",
    "Accept-Encoding": "identity",
}
# An upload may take this much longer for each byte: slower than 64 KiB/s is no connection to work with.
_SLOWEST_BYTES_PER_S = 64 << 10


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
        self._timeouts = timeouts
        # One timer per request: a second one, for silence, would cost a seventh of a small request.
        self._whole = aiohttp.ClientTimeout(total=timeouts.total_s, connect=timeouts.connect_s)
        self._streamed = aiohttp.ClientTimeout(
            connect=timeouts.connect_s, sock_read=timeouts.read_s
        )
        self._proxy = _ProxyTable()
        self._direct: dict[str, DirectPost] = {}

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            limit=self._connections, keepalive_timeout=_KEEP_ALIVE_S, ttl_dns_cache=_DNS_CACHE_S
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # objects are wanted as they are stored, and a small answer must not grow into a large one
            skip_auto_headers=("Content-Type",),  # a request without a body has none
            headers=_HEADERS,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    def post(self, prepared: PreparedRequest) -> Awaitable[Answer]:
        """As :meth:`exchange`, for a small POST that must leave at a moment that ``departures`` gives.

        Raises:
            ConnectFailed: Also if anything went wrong, or an answer came, before that moment: not a byte of the request has left.
        """
        known = self._direct.get(prepared.url)
        if known is None:
            url = _url(prepared.url)
            if self._proxy.of(url) is not None:
                return self._post_the_long_way(prepared)
            known = self._direct[prepared.url] = DirectPost(
                self._session, url, _HEADERS, self._whole
            )
        return (
            known.exchange(prepared, self.departures)
            if is_open()
            else self._post_the_long_way(prepared)
        )

    async def _post_the_long_way(self, prepared: PreparedRequest) -> Answer:
        if self.departures is None:
            return await self.exchange(prepared)
        body = _SpacedBody(prepared.body, self.departures)
        try:
            answer = await self._exchange(prepared, MAX_REPLY_BYTES, body)
        except (TransportError, ProtocolError) as error:
            if body.has_left:
                raise
            raise ConnectFailed(f"{error}; it had not left yet, nothing was sent") from error
        finally:
            body.withdraw()
        if not body.has_left:
            raise not_sent(
                prepared,
                f"the service answered {answer.status} to a connection on which nothing was sent yet",
            )
        return answer

    async def exchange(
        self, prepared: PreparedRequest, limit_bytes: int = MAX_REPLY_BYTES
    ) -> Answer:
        """Send once, and read the whole answer.

        Raises:
            ConnectFailed: Nothing was sent.
            ReplyTimeout: Sent, or partly; no whole answer came in time.
            SendInDoubt: Sent, or partly; the connection was lost before the whole answer was there.
            ProtocolError: The answer is larger than ``limit_bytes``.
        """
        return await self._exchange(prepared, limit_bytes, prepared.body or None)

    async def _exchange(
        self, prepared: PreparedRequest, limit_bytes: int, body_out: bytes | _SpacedBody | None
    ) -> Answer:
        try:
            response = await self._open(prepared, self._timeout_for(prepared), body_out)
        except FAILURES as error:
            raise failure(prepared, error) from harmless(error)
        try:
            body = await read_whole(response.content, limit_bytes)
        except FAILURES as error:
            # The status is there, and an error status says all that the caller needs.
            if response.status < 400:
                raise failure(prepared, error) from harmless(error)
            body = b""
        finally:
            response.release()
        return Answer(response.status, response.headers, body)

    async def stream(self, prepared: PreparedRequest) -> tuple[Answer, AsyncIterator[bytes]]:
        """Send once; the answer's head, with its body if it is an error, and the body of a success in pieces.

        Raises:
            TransportError: As for :meth:`exchange`, also while the pieces are read.
        """
        try:
            response = await self._open(prepared, self._streamed, prepared.body or None)
        except FAILURES as error:
            raise failure(prepared, error) from harmless(error)
        answer = Answer(response.status, response.headers)
        if not answer.is_success:
            try:
                answer = Answer(
                    response.status,
                    response.headers,
                    await read_whole(response.content, MAX_REPLY_BYTES),
                )
            except FAILURES:
                pass  # as in exchange()
            finally:
                response.release()
        return answer, _pieces(prepared, response)

    async def _open(
        self,
        prepared: PreparedRequest,
        bounds: aiohttp.ClientTimeout,
        body: bytes | _SpacedBody | None,
    ) -> aiohttp.ClientResponse:
        url = _url(prepared.url)
        return await self._session.request(
            prepared.method,
            url,
            headers=prepared.headers,
            data=body,
            timeout=bounds,
            allow_redirects=False,
            proxy=self._proxy.of(url),
        )

    def _timeout_for(self, prepared: PreparedRequest) -> aiohttp.ClientTimeout:
        size = len(prepared.body)
        if size <= _SLOWEST_BYTES_PER_S:
            return self._whole
        return aiohttp.ClientTimeout(
            total=self._timeouts.total_s + size / _SLOWEST_BYTES_PER_S,
            connect=self._timeouts.connect_s,
        )


class _SpacedBody(aiohttp.payload.BytesPayload):
    """A body that leaves when its turn has come, and its request's head with it.

    aiohttp keeps the head back until the first piece of a body is written, and writes the two at once; so nothing lies between the turn
    and the system's call but the write itself, and nothing of the request has left before.
    """

    def __init__(self, content: bytes, departures: Departures) -> None:
        super().__init__(content)
        self._departures = departures
        self._is_withdrawn = False
        self.has_left = False

    def withdraw(self) -> None:
        """Nobody waits for the answer any more: what has not left stays."""
        self._is_withdrawn = True

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Called by aiohttp when the connection is there."""
        seat = await self._departures.turn()
        if self._is_withdrawn:
            raise ConnectionAbortedError("the request was withdrawn before it left")
        self.has_left = True
        try:
            await super().write_with_length(writer, content_length)
        finally:
            self._departures.left(seat)


class _ProxyTable:
    """The environment's proxies (``https_proxy``, ``no_proxy`` ...), read once: aiohttp would read them again in a thread per request."""

    def __init__(self) -> None:
        self._proxies = getproxies()
        self._known: dict[tuple[str, str], str | None] = {}

    def of(self, url: URL) -> str | None:
        """The proxy for a URL, or None. This machine's own services are never asked through one."""
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
    """Parsed once per distinct URL: every POST goes to the same few. It is encoded as it must be, to the letter."""
    return URL(text, encoded=True)


async def _pieces(
    prepared: PreparedRequest, response: aiohttp.ClientResponse
) -> AsyncIterator[bytes]:
    try:
        async for piece in response.content.iter_chunked(_PIECE_BYTES):
            yield piece
    except FAILURES as error:
        raise failure(prepared, error) from harmless(error)
    finally:
        response.release()
