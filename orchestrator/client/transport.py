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
from orchestrator.client.connector import SENDING, Body, Connector, Sending
from orchestrator.client.redaction import Redactor
from orchestrator.client.transport_errors import (
    FAILURES,
    failure,
    harmless,
    is_proxy_refusal,
    not_sent,
    proxy_refusal,
    read_whole,
)
from orchestrator.client.wire.request import Answer
from orchestrator.client.wire.xml import MAX_REPLY_BYTES
from orchestrator.errors import ConfigError, ConnectFailed, ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from orchestrator.client.endpoint import Timeouts
    from orchestrator.client.limits.departures import Departures
    from orchestrator.client.wire.request import PreparedRequest
    from orchestrator.errors import TransportError

# Shorter than the idle time after which servers and balancers hang up (60 s and more), so that a
# POST seldom meets a dead connection.
_KEEP_ALIVE_S = 15.0
_DNS_CACHE_S = 60


class Transport:
    """A pool of connections.

    Args:
        connections: Most connections at once, over all hosts.
        timeouts: Bounds of each request.
        redactor: Removes secrets from what is received.

    Raises:
        ConfigError: If the address of a proxy in the environment cannot be used.
    """

    def __init__(
        self, connections: int, timeouts: Timeouts, redactor: Redactor | None = None
    ) -> None:
        self._redactor = redactor or Redactor()
        self.departures: Departures | None = None
        """Says when the requests of :meth:`post` may leave; None: at any time."""
        self.may_send: Callable[[], bool] = lambda: True
        """Asked right before a request of :meth:`post` is written."""
        self._connections = connections
        # One timer per request: a second one, for silence, costs a seventh of a small request.
        self._bounds = aiohttp.ClientTimeout(total=timeouts.total_s, connect=timeouts.connect_s)
        self._proxies = ProxyTable(self._redactor)

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
            TunnelRefused: Nothing was sent: the proxy asks for a user name and password.
            ReplyTimeout: Sent, or partly; no whole answer came in time.
            SendInDoubt: Sent, or partly; no whole answer came before the connection was lost.
            ProtocolError: The answer is too large.
        """
        sending = Sending(self.departures, self.may_send)
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
            is_unsent = sending is not None and sending.is_connecting and not sending.may_have_left
            raise self._failure(prepared, error, is_unsent=is_unsent) from self._cause(error)
        try:
            body = await read_whole(response.content, MAX_REPLY_BYTES)
        except FAILURES as error:
            if response.status < 400:
                raise self._failure(prepared, error) from self._cause(error)
            # An error status may say enough, for example to slow down.
            return Answer(response.status, self._headers(response), is_whole=False)
        except ProtocolError as error:
            raise ProtocolError(str(error), self._redactor.clean(error.raw)) from None
        finally:
            response.release()
        return Answer(response.status, self._headers(response), self._redactor.clean(body))

    def _headers(self, response: aiohttp.ClientResponse) -> Mapping[str, str]:
        return self._redactor.headers(response.headers, response.raw_headers)

    def _failure(
        self, prepared: PreparedRequest, error: BaseException, *, is_unsent: bool = False
    ) -> TransportError:
        """Return the exception for a failure of aiohttp, without secrets."""
        if is_proxy_refusal(error):
            return proxy_refusal()
        found = failure(prepared, error)
        if is_unsent and not isinstance(found, ConnectFailed):
            found = not_sent(prepared, f"nothing was sent ({found})")
        if type(found) is ConnectFailed and (proxy := self._proxies.of(_url(prepared.url))):
            where = URL(proxy)
            found = ConnectFailed(f"{found}, through the proxy {where.host}:{where.port}")
        return type(found)(self._redactor.text(str(found)))

    def _cause(self, error: BaseException) -> BaseException | None:
        """Return the cause to keep, or None if it holds secrets."""
        kept = harmless(error)
        is_clean = kept is not None and self._redactor.text(repr(kept)) == repr(kept)
        return kept if is_clean else None


class ProxyTable:
    """The proxies of the environment (``https_proxy``, ``no_proxy`` ...), read and checked once.

    aiohttp would read them again for each request, in a thread.

    Args:
        redactor: Learns their passwords.

    Raises:
        ConfigError: If an address cannot be used.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._proxies = {
            scheme: _proxy_url(scheme, text)
            for scheme, text in getproxies().items()
            if scheme in {"http", "https"}
        }
        for url in self._proxies.values():
            redactor.learn_proxy(URL(url))
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


def _proxy_url(scheme: str, text: str) -> str:
    """Return the address of a proxy; ``host:port`` is taken for ``http://host:port``, as by curl.

    Raises:
        ConfigError: If it cannot be used. The message has no user name or password.
    """
    whole = text if "://" in text else f"http://{text}"
    try:
        url = URL(whole)
        is_usable = url.scheme in {"http", "https"} and bool(url.host) and bool(url.port)
    except ValueError:
        is_usable = False
    if not is_usable:
        shown = whole.rpartition("@")[2].partition("//")[2] or whole.rpartition("@")[2]
        raise ConfigError(
            f"{scheme.upper()}_PROXY: the address of the proxy cannot be used (...{shown}). "
            "Write http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, with special characters of "
            "the password as %XX."
        )
    return whole


@lru_cache(maxsize=256)
def _url(text: str) -> URL:
    """Parse a URL that is percent-encoded already; submits use the same few again and again."""
    return URL(text, encoded=True)
