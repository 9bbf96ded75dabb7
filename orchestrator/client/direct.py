"""The short way of a small POST: straight onto a connection of aiohttp's pool, without the rest of aiohttp's client.

Names, TLS, the pool and the parser are aiohttp's. What is left out is what it does for requests of any kind: redirects, cookies, payloads
that stream in a task of their own. That is more than half of what a submit costs, and it hides the one fact that matters here: whether
a byte has left. On this way nothing lies between the last look at the connection and the write.

What is used is not all documented. So only the release of aiohttp that the tests have seen takes this way (:data:`KNOWN`); with another
one, through a proxy, or where a mock or a tracer stands in the client's way, requests go the ordinary one (``transport``).
"""

from __future__ import annotations

import asyncio
import math
from functools import cached_property
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from orchestrator.client.outcome import FAILURES, Answer, failure, harmless, not_sent, read_whole
from orchestrator.client.wire.request import header_lines
from orchestrator.client.wire.xml import MAX_REPLY_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from yarl import URL

    from orchestrator.client.pacer import Departures
    from orchestrator.client.wire.request import PreparedRequest

KNOWN = ("3", "14")
"""The release of aiohttp whose pool and parser are known to work as they are used here."""
_REQUEST = aiohttp.ClientSession._request  # noqa: SLF001 - what mocks and tracers replace


_IS_KNOWN = tuple(aiohttp.__version__.split(".")[:2]) == KNOWN


def is_open() -> bool:
    """Whether requests may go the short way."""
    return _IS_KNOWN and aiohttp.ClientSession._request is _REQUEST  # noqa: SLF001 - as above


class DirectPost:
    """Sends POSTs to one URL.

    Args:
        session: Whose connections are used; it must be open.
        url: Where they go, encoded as it must be.
        headers: What every request carries besides its own.
        bounds: ``connect`` and ``total``, seconds.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: URL,
        headers: Mapping[str, str],
        bounds: aiohttp.ClientTimeout,
    ) -> None:
        self._session = session
        self._address = _Address("POST", url, loop=asyncio.get_running_loop(), session=session)
        self._head = f"POST {url.raw_path_qs} HTTP/1.1\r\n{header_lines(headers)}"
        self._bounds = bounds
        self._total_s = bounds.total or math.inf
        self._deadlines = _Deadlines(self._address.loop)
        self._parsers: dict[ResponseHandler, object] = {}  # that read our answers, by connection

    async def exchange(self, prepared: PreparedRequest, departures: Departures | None) -> Answer:
        """Send once, at a moment that ``departures`` gives, and read the whole answer.

        Raises:
            ConnectFailed: Not a byte was sent.
            ReplyTimeout: Sent, or partly; no whole answer came in time.
            SendInDoubt: Sent, or partly; the connection was lost before the whole answer was there, or it is no answer.
            ProtocolError: The answer is larger than an answer can be.
        """
        data = (
            f"{self._head}{prepared.head or header_lines(prepared.headers)}\r\n".encode()
            + prepared.body
        )
        sending = _Sending(data, self._deadlines, self._address.loop.time() + self._total_s)
        try:
            connector = self._session.connector
            if connector is None:
                raise aiohttp.ClientConnectionError("the session is closed")
            connection = await connector.connect(self._address, [], self._bounds)
            try:
                answer = await sending.over(self._listening(connection), departures)
            except BaseException:
                connection.close()
                raise
            connection.release()
        except (*FAILURES, HttpProcessingError) as error:
            if not sending.has_left:
                raise not_sent(
                    prepared, f"nothing was sent ({failure(prepared, error)})"
                ) from harmless(error)
            if (
                sending.refusal is not None
            ):  # the status is there, and an error status says all that the caller needs
                return sending.refusal
            raise failure(prepared, TimeoutError() if sending.is_late else error) from harmless(
                error
            )
        return answer

    def _listening(self, connection: Connection) -> ResponseHandler:
        """The connection, with a parser for answers: the one that read the last answer, if that was one of ours."""
        protocol = connection.protocol
        if protocol is None:
            raise aiohttp.ClientConnectionError("the pool gave a closed connection")
        parser = protocol._parser  # noqa: SLF001 - to make one takes as long as to parse an answer
        if parser is None or self._parsers.get(protocol) is not parser:
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            self._parsers[protocol] = protocol._parser  # noqa: SLF001 - as above
            # Connections that are closed have lost theirs. With each new one those are forgotten: a run may see a million of them.
            self._parsers = {
                known: parser
                for known, parser in self._parsers.items()
                if known._parser is parser  # noqa: SLF001
            }
        return protocol


class _Address(aiohttp.ClientRequest):
    """Stands for all requests before the pool, which wants to know host, port and TLS of each."""

    @cached_property
    def connection_key(self) -> ConnectionKey:  # aiohttp puts it together anew each time
        """By what the pool finds a connection."""
        return super().connection_key


class _Sending:
    """One request on its way.

    Args:
        data: All of it.
        deadlines: Ends the waiting for its answer.
        until: When its time is over: what has not left by then stays, and no answer is waited for any more.

    Attributes:
        has_left: It was written, at least in part.
        is_late: Its time was over before the answer was there.
        refusal: The head of an answer that is an error.
    """

    __slots__ = ("_data", "_deadlines", "has_left", "is_late", "refusal", "until")

    def __init__(self, data: bytes, deadlines: _Deadlines, until: float) -> None:
        self._data = data
        self._deadlines = deadlines
        self.until = until
        self.has_left = False
        self.is_late = False
        self.refusal: Answer | None = None

    async def over(self, protocol: ResponseHandler, departures: Departures | None) -> Answer:
        """Send it when its turn has come, and read the answer."""
        if departures is None:
            transport = self._leave(protocol)
        else:
            seat = departures.take()
            if seat is None:
                async with asyncio.timeout_at(self.until):
                    seat = await departures.turn()
            try:
                transport = self._leave(protocol)
            finally:
                departures.left(seat)
        self._deadlines.watch(self, transport)
        try:
            message, content = await protocol.read()
            while 100 <= message.code < 200:  # on the way to the answer
                message, content = await protocol.read()
            if message.code >= 400:
                self.refusal = Answer(message.code, message.headers)
            return Answer(message.code, message.headers, await read_whole(content, MAX_REPLY_BYTES))
        finally:
            self._deadlines.forget(self)

    def _leave(self, protocol: ResponseHandler) -> asyncio.Transport:
        """Write it, if the connection is there and silent: an answer that comes before its question belongs to another.

        Not even the beginning of one may have come, for our answer would be taken for its end. A parser that is told of the end of the
        connection gives what it has of a head; between two answers that is nothing, and changes nothing.
        """
        transport, parser = protocol.transport, protocol._parser  # noqa: SLF001 - nothing else knows
        is_silent = parser is not None and not len(protocol) and parser.feed_eof() is None
        if transport is None or transport.is_closing() or protocol.is_eof() or not is_silent:
            raise aiohttp.ClientConnectionError(
                "the service closed the connection, or spoke, before the request left"
            )
        if self._deadlines.now() >= self.until:
            raise TimeoutError("its time was over before it could leave")
        self.has_left = True
        transport.write(self._data)
        return transport


class _Deadlines:
    """Ends the waiting for answers that come too late. One timer for all: one for each request would cost a tenth of the whole exchange."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.now = loop.time
        self._call_at = loop.call_at
        self._waiting: dict[_Sending, asyncio.Transport] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf

    def watch(self, sending: _Sending, transport: asyncio.Transport) -> None:
        """It was sent over ``transport``."""
        self._waiting[sending] = transport
        if sending.until < self._looks_at:
            self._look_at(sending.until)

    def forget(self, sending: _Sending) -> None:
        """Nobody waits for its answer any more."""
        self._waiting.pop(sending, None)

    def _look_at(self, instant: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = instant
        self._timer = self._call_at(instant, self._look) if instant < math.inf else None

    def _look(self) -> None:
        """Lose the connections of those whose time is over: whoever reads from them is told at once."""
        now, self._looks_at = max(self.now(), self._looks_at), math.inf
        for sending in [sending for sending in self._waiting if sending.until <= now]:
            sending.is_late = True
            self._waiting.pop(sending).abort()
        self._look_at(min([sending.until for sending in self._waiting], default=math.inf))
