"""The transport of a POST: nothing leaves before its turn, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trustme

from orchestrator.client.endpoint import Timeouts
from orchestrator.client.limits.departures import Departures
from orchestrator.client.transport import Transport
from orchestrator.client.wire.request import PreparedRequest
from orchestrator.domain.clock import SystemClock
from orchestrator.errors import ConnectFailed, ReplyTimeout, SendInDoubt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.client.limits.seats import Seat
    from tests.integration.client.conftest import Wire

BODY = b"<Request/>"
FAREWELL = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nServer: tencent-ci\r\n\r\n"
"""Answer that a server may send when it gives up an idle connection."""


class _Held(Departures):
    """Departures that the test opens."""

    def __init__(self) -> None:
        super().__init__(1000.0, SystemClock())
        self.is_waited_for = asyncio.Event()
        self.go = asyncio.Event()

    def take(self) -> None:
        return None

    async def turn(self) -> Seat:
        self.is_waited_for.set()
        await self.go.wait()
        return await super().turn()


@pytest.fixture
async def transport() -> AsyncIterator[Transport]:
    async with Transport(4, Timeouts(connect_s=2.0, total_s=5.0)) as made:
        yield made


def _post(wire: Wire, **headers: str) -> PreparedRequest:
    return PreparedRequest(
        "POST",
        f"{wire.url}/jobs",
        {"host": "a.example", "content-length": str(len(BODY)), **headers},
        BODY,
    )


@asynccontextmanager
async def _secured(wire: Wire, authority: trustme.CA) -> AsyncIterator[str]:
    """The same server over TLS, with a certificate of ``authority``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/jobs"


async def test_the_request_is_sent_with_its_own_headers_and_two_more(
    wire: Wire, transport: Transport
) -> None:
    wire.answers = [wire.accepted]

    answer = await transport.post(_post(wire))

    (request,) = wire.received
    assert (answer.status, answer.headers["X-CI-Request-Id"]) == (200, "req-1")
    assert (request.method, request.target, request.body) == ("POST", "/jobs", BODY)
    assert set(request.headers) == {"host", "content-length", "user-agent", "accept-encoding"}


async def test_nothing_is_written_before_its_turn(wire: Wire, transport: Transport) -> None:
    wire.answers = [wire.accepted]
    transport.departures = held = _Held()

    posted = asyncio.ensure_future(transport.post(_post(wire)))
    await held.is_waited_for.wait()
    assert wire.received == []

    held.go.set()
    assert (await posted).status == 200


@pytest.mark.parametrize(
    ("farewell", "closes"),
    [(b"", True), (FAREWELL, True), (FAREWELL, False)],
    ids=["closes", "speaks and closes", "speaks"],
)
async def test_a_connection_that_the_service_ends_before_the_turn_is_sent_nothing(
    wire: Wire, transport: Transport, farewell: bytes, closes: bool
) -> None:
    """Such an answer belongs to no request; it must not count as the answer to the POST."""
    leave, left = asyncio.Event(), asyncio.Event()

    async def end_soon(writer: asyncio.StreamWriter) -> None:
        writer.write(wire.accepted)
        await leave.wait()
        writer.write(farewell)
        await writer.drain()
        if closes:
            writer.close()
            await writer.wait_closed()
        left.set()

    wire.answers = [end_soon]
    await transport.post(_post(wire))
    transport.departures = held = _Held()
    posted = asyncio.ensure_future(transport.post(_post(wire)))
    await held.is_waited_for.wait()
    leave.set()
    await left.wait()
    held.go.set()

    with pytest.raises(ConnectFailed, match="nothing was sent"):
        await posted
    assert len(wire.received) == 1


@pytest.mark.parametrize("cut", [1, 5, 10, 30, 60])
async def test_an_answer_that_began_before_its_request_is_never_its_answer(
    wire: Wire, transport: Transport, cut: int
) -> None:
    """A server gives up a connection in two pieces, and the POST leaves between them."""
    wire.answers = [wire.accepted + FAREWELL[:cut], FAREWELL[cut:]]
    await transport.post(_post(wire))

    with pytest.raises(SendInDoubt):
        await transport.post(_post(wire))
    assert len(wire.received) == 2


async def test_a_post_is_sent_once_even_if_aiohttp_would_repeat_it(
    wire: Wire, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aiohttp repeats idempotent methods on a kept connection that was closed; here also POST."""
    monkeypatch.setattr("aiohttp.client.IDEMPOTENT_METHODS", frozenset({"GET", "POST"}))
    wire.answers = [wire.accepted, None, wire.accepted]
    await transport.post(_post(wire))

    with pytest.raises(SendInDoubt, match="not repeated"):
        await transport.post(_post(wire))
    assert len(wire.received) == 2


async def test_a_post_cancelled_before_its_turn_closes_its_connection(
    wire: Wire, transport: Transport
) -> None:
    closed = asyncio.Event()

    async def note_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await wire.serve(reader, writer)
        closed.set()

    wire.answers = [wire.accepted]
    transport.departures = held = _Held()
    server = await asyncio.start_server(note_the_end, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jobs"
        posted = asyncio.ensure_future(transport.post(_post(wire)._replace(url=url)))
        await held.is_waited_for.wait()
        posted.cancel()
        async with asyncio.timeout(5.0):
            await closed.wait()
    assert wire.received == []


async def test_an_interim_answer_is_not_the_answer(wire: Wire, transport: Transport) -> None:
    wire.answers = [b"HTTP/1.1 102 Processing\r\n\r\n" + wire.accepted]
    assert (await transport.post(_post(wire))).status == 200


async def test_a_body_in_chunks_is_read_whole(wire: Wire, transport: Transport) -> None:
    wire.answers = [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    ]
    assert (await transport.post(_post(wire))).body == b"abcde"
    assert (await transport.post(_post(wire))).body == b"abcde"
    assert wire.connections == 1


async def test_an_error_whose_text_is_cut_off_is_still_that_error(
    wire: Wire, transport: Transport
) -> None:
    async def cut(writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 3\r\nContent-Length: 1000\r\n\r\n<Err"
        )
        await writer.drain()
        writer.close()

    wire.answers = [cut]
    answer = await transport.post(_post(wire))
    assert (answer.status, answer.headers["Retry-After"], answer.body) == (429, "3", b"")


async def test_a_silent_service_times_out_and_its_connection_is_not_used_again(
    wire: Wire,
) -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        await writer.wait_closed()

    wire.answers = [hang, wire.accepted]
    async with Transport(1, Timeouts(connect_s=0.1, total_s=0.2)) as hasty:
        with pytest.raises(ReplyTimeout, match="in time"):
            await hasty.post(_post(wire))
        assert (await hasty.post(_post(wire))).status == 200
    assert wire.connections == 2


async def test_posts_over_tls_share_a_connection(
    wire: Wire, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire.answers = [wire.accepted]
    authority, trusting = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)

    async with _secured(wire, authority) as url:
        answers = [await transport.post(_post(wire)._replace(url=url)) for _ in range(3)]

    assert [answer.status for answer in answers] == [200, 200, 200]
    assert (len(wire.received), wire.connections) == (3, 1)


async def test_a_server_with_an_untrusted_certificate_is_sent_nothing(
    wire: Wire, transport: Transport
) -> None:
    async with _secured(wire, trustme.CA()) as url:
        with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await transport.post(_post(wire)._replace(url=url))
    assert wire.received == []


async def test_a_request_is_held_back_at_the_last_moment_if_another_process_may_have_taken_over(
    wire: Wire, transport: Transport
) -> None:
    """The look at the lease comes after the wait for the turn, and before the first byte."""
    held = transport.departures = _Held()
    is_ours = True
    transport.may_send = lambda: is_ours
    sending = asyncio.create_task(transport.post(_post(wire)))
    await held.is_waited_for.wait()
    is_ours = False
    held.go.set()

    with pytest.raises(ConnectFailed, match=r"nothing was sent .*lease of the ledger"):
        await sending
    is_ours = True
    wire.answers = [wire.accepted]
    await transport.post(_post(wire))
    assert len(wire.received) == 1
    assert wire.torn == [b""], "a connection without a byte"
