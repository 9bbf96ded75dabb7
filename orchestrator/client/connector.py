"""Connections for submits, each handed out at the moment when its request may leave.

aiohttp asks its connector for a connection before it writes anything. :meth:`Connector.connect`
waits at that point for the departure seat, and then looks at the connection once more: a service
that closed it, or spoke first, has not been sent anything. :class:`Body` frees the seat when it
is written. aiohttp's trace signals come at the same moments, but without the connection, which a
request cancelled in a signal would leak, and they cost a tenth of the time of a submit.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.abc import AbstractStreamWriter
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from orchestrator.client.limits.departures import Departures
    from orchestrator.client.limits.seats import Seat


class Sending:
    """One POST on its way.

    Args:
        departures: Keeps the rate limit; None if the POST may leave at any time.
        may_send: Returns False once another process may have taken over this one's work.

    Attributes:
        is_connecting: True once aiohttp has asked for a connection.
        may_have_left: True once aiohttp has got the connection, so bytes may have left.
    """

    __slots__ = ("_departures", "_may_send", "_seat", "is_connecting", "may_have_left")

    def __init__(self, departures: Departures | None, may_send: Callable[[], bool]) -> None:
        self._departures = departures
        self._may_send = may_send
        self._seat: Seat | None = None
        self.is_connecting = False
        self.may_have_left = False

    async def take_seat(self) -> None:
        """Wait for the moment to leave."""
        if self._departures is not None:
            seat = self._departures.take()
            self._seat = await self._departures.turn() if seat is None else seat

    async def keep_seat(self) -> None:
        """Take another seat if the first one was lost, because the process was held up."""
        if self._departures is not None:
            while self._seat is None or not self._departures.may_leave(self._seat):
                await self.take_seat()

    def check(self) -> None:
        """Look at the lease for the last time: the write comes next.

        Raises:
            aiohttp.ClientConnectionError: Another process may have taken over. Nothing was sent.
        """
        if not self._may_send():
            self.may_have_left = False
            raise aiohttp.ClientConnectionError(
                "the lease of the ledger was not renewed in time, so the request was held back"
            )

    def leave(self) -> None:
        """Report the departure: the write is done."""
        if self._departures is not None and self._seat is not None:
            self._departures.left(self._seat)


class Body(aiohttp.BytesPayload):
    """Body of a POST. aiohttp writes the head of a request together with its body."""

    def __init__(self, content: bytes, sending: Sending) -> None:
        super().__init__(content)
        self._sending = sending

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        """Write the request, and report its departure; called by aiohttp."""
        await self._sending.keep_seat()
        self._sending.check()
        try:
            await super().write_with_length(writer, content_length)
        finally:
            self._sending.leave()


SENDING: ContextVar[Sending | None] = ContextVar("SENDING", default=None)
"""The POST that the current task sends."""


class Connector(aiohttp.TCPConnector):
    """Pool of connections that sends each POST at most once, and not before its moment."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> Connection:
        """Return a connection; for a POST, when it may leave.

        Raises:
            aiohttp.ClientConnectionError: For a POST, if the service closed the connection or
                sent something before the POST left, or if this POST had a connection before.
        """
        sending = SENDING.get()
        if sending is None:
            return await super().connect(req, traces, timeout)
        if sending.may_have_left:
            raise aiohttp.ClientConnectionError("a POST is not repeated")
        sending.is_connecting = True
        connection = await super().connect(req, traces, timeout)
        try:
            await sending.take_seat()
            _check_is_silent(connection)
        except BaseException:
            connection.close()
            raise
        sending.may_have_left = True
        return connection


def _check_is_silent(connection: Connection) -> None:
    protocol = connection.protocol
    if protocol is None or not protocol.is_connected() or protocol.should_close:
        raise aiohttp.ClientConnectionError(
            "the service closed the connection, or spoke, before the request left"
        )
