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
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from orchestrator.cloud.answers import FAILURES, Answer, failure, harmless, not_sent, read_whole
from orchestrator.errors import CredentialsMissing
from orchestrator.protocol.xml import MAX_REPLY_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http_parser import RawResponseMessage
    from yarl import URL

    from orchestrator.cloud.departures import Departures
    from orchestrator.protocol.request import PreparedRequest

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

    def __init__(self, session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], bounds: aiohttp.ClientTimeout) -> None:
        self._session = session
        # It stands for all of them before the pool, which wants to know host, port and TLS.
        self._address = aiohttp.ClientRequest("POST", url, loop=asyncio.get_running_loop(), session=session)
        self._head = f"POST {url.raw_path_qs} HTTP/1.1\r\n{_lines(headers)}"
        self._bounds = bounds
        self._total_s = bounds.total or math.inf

    async def exchange(self, prepared: PreparedRequest, departures: Departures | None) -> Answer:
        """Send once, at a moment that ``departures`` gives, and read the whole answer.

        Raises:
            ConnectFailed: Not a byte was sent.
            ReplyTimeout: Sent, or partly; no whole answer came in time.
            SendInDoubt: Sent, or partly; the connection was lost before the whole answer was there, or it is no answer.
            ProtocolError: The answer is larger than an answer can be.
        """
        data = f"{self._head}{_lines(prepared.headers)}\r\n".encode() + prepared.body
        sending = _Sending(data, self._address.loop, self._address.loop.time() + self._total_s)
        try:
            return await self._exchange(sending, departures)
        except (*FAILURES, HttpProcessingError) as error:
            if not sending.has_left:
                raise not_sent(prepared, f"nothing was sent ({failure(prepared, error)})") from harmless(error)
            if sending.refusal is not None:  # the status is there, and an error status says all that the caller needs
                return sending.refusal
            raise failure(prepared, TimeoutError() if sending.is_late else error) from harmless(error)

    async def _exchange(self, sending: _Sending, departures: Departures | None) -> Answer:
        connector = self._session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        connection = await connector.connect(self._address, [], self._bounds)
        try:
            answer = await sending.over(connection.protocol, departures)
        except BaseException:
            connection.close()
            raise
        connection.release()
        return answer


class _Sending:
    """One request on its way.

    Args:
        data: All of it.
        loop: The event loop.
        until: When its time is over: what has not left by then stays, and no answer is waited for any more.

    Attributes:
        has_left: It was written, at least in part.
        is_late: Its time was over before the answer was there.
        refusal: The head of an answer that is an error.
    """

    __slots__ = ("_data", "_loop", "_until", "has_left", "is_late", "refusal")

    def __init__(self, data: bytes, loop: asyncio.AbstractEventLoop, until: float) -> None:
        self._data = data
        self._loop = loop
        self._until = until
        self.has_left = False
        self.is_late = False
        self.refusal: Answer | None = None

    async def over(self, protocol: ResponseHandler | None, departures: Departures | None) -> Answer:
        """Send it when its turn has come, and read the answer."""
        if protocol is None:
            raise aiohttp.ClientConnectionError("the pool gave a closed connection")
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        if departures is None:
            transport = self._leave(protocol)
        else:
            seat = await self._turn(departures)
            try:
                transport = self._leave(protocol)
            finally:
                departures.left(seat)
        # A timer of its own: asyncio.timeout would cost a tenth of the whole exchange.
        timer = self._loop.call_at(self._until, self._give_up, transport)
        try:
            return await self._answer(protocol)
        finally:
            timer.cancel()

    async def _turn(self, departures: Departures) -> int:
        """The seat, when the moment has come. Mostly that is now, and then there is nothing to bound."""
        if departures.is_free():
            return await departures.turn()
        async with asyncio.timeout_at(self._until):
            return await departures.turn()

    def _leave(self, protocol: ResponseHandler) -> asyncio.Transport:
        """Write it, if the connection is there and silent: an answer that comes before its question belongs to another."""
        transport = protocol.transport
        if transport is None or transport.is_closing() or len(protocol) or protocol.is_eof():
            raise aiohttp.ClientConnectionError("the service closed the connection, or spoke, before the request left")
        if self._loop.time() >= self._until:
            raise TimeoutError("its time was over before it could leave")
        self.has_left = True
        transport.write(self._data)
        return transport

    def _give_up(self, transport: asyncio.Transport) -> None:
        """Lose the connection: whoever reads from it is told at once."""
        self.is_late = True
        transport.abort()

    async def _answer(self, protocol: ResponseHandler) -> Answer:
        """Read the answer."""
        message: RawResponseMessage
        message, content = await protocol.read()
        while 100 <= message.code < 200:  # on the way to the answer
            message, content = await protocol.read()
        if message.code >= 400:
            self.refusal = Answer(message.code, message.headers)
        return Answer(message.code, message.headers, await read_whole(content, MAX_REPLY_BYTES))


def _lines(headers: Mapping[str, str]) -> str:
    """Headers as they stand in a request."""
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if text.count("\n") != len(headers):
        raise CredentialsMissing("A part of the credentials has more than one line: it cannot be sent as a header. Set it anew.")
    return text
