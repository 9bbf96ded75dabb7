"""Submits that wait for their moment, over real sockets: nothing leaves before it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from orchestrator.client.endpoint import Timeouts
from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.domain.clock import SystemClock
from orchestrator.errors import ConnectFailed, SendInDoubt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.client.service import CloudService
    from orchestrator.domain.spec import JobSpec
    from tests.integration.client.conftest import Connect, Wire


class Gate:
    """Departures that the test opens."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.opened = asyncio.Event()
        self.seats_left: list[int] = []

    def take(self) -> None:
        return None

    async def turn(self) -> int:
        self.asked.set()
        await self.opened.wait()
        return 5

    def may_leave(self, _seat: int) -> bool:
        return True

    def left(self, seat: int) -> None:
        self.seats_left.append(seat)


class GatedLimiter(AdaptiveLimiter):
    """A limiter whose departures are a gate."""

    def __init__(self) -> None:
        super().__init__(100, SystemClock())
        self.gate = Gate()

    def space(self) -> Gate:  # type: ignore[override]  # as much of it as the transport uses
        return self.gate


def gated(service: CloudService) -> Gate:
    limiter = GatedLimiter()
    service.space_submits(limiter)
    return limiter.gate


async def test_no_byte_leaves_before_the_moment_and_all_leave_at_it(
    wire: Wire, service: CloudService, spec: JobSpec
) -> None:
    wire.answers = [wire.accepted]
    gate = gated(service)
    submit = asyncio.create_task(service.submit(spec))
    await gate.asked.wait()
    await asyncio.sleep(0.05)  # noqa: TID251 - long enough for bytes to cross the loopback, if there were any

    assert wire.received == []
    assert gate.seats_left == []
    gate.opened.set()
    assert (await submit).job.job_id == "j1"
    assert len(wire.received) == 1
    assert gate.seats_left == [5], "reported after the write"


@asynccontextmanager
async def server(first_words: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that speaks first or hangs up, and the bytes that it received."""
    heard: list[bytes] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first_words is None:
            writer.transport.abort()
            return
        writer.write(first_words)
        heard.append(await reader.read())
        writer.close()

    listening = await asyncio.start_server(meet, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", heard


TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n"


@pytest.mark.parametrize(
    "words",
    [None, TIMEOUT + b"Connection: close\r\n\r\n", TIMEOUT + b"\r\n"],
    ids=["hangs up", "speaks first", "speaks first and stays"],
)
async def test_a_service_that_ends_the_connection_early_is_sent_nothing(
    connect: Connect, spec: JobSpec, words: bytes | None
) -> None:
    async with server(words) as (url, heard), connect(url) as service:
        gate = gated(service)

        with pytest.raises(ConnectFailed, match="nothing was sent"):
            await service.submit(spec)
        gate.opened.set()
        await asyncio.sleep(0.05)  # noqa: TID251 - long enough for bytes to cross the loopback, if there were any

    assert b"".join(heard) == b""


async def test_nothing_was_sent_if_the_moment_does_not_come_in_time(
    connect: Connect, wire: Wire, spec: JobSpec
) -> None:
    async with connect(wire.url, timeouts=Timeouts(connect_s=0.1, total_s=0.2)) as service:
        gate = gated(service)
        with pytest.raises(ConnectFailed, match="nothing was sent"):
            await service.submit(spec)
        gate.opened.set()
        await asyncio.sleep(0.05)  # noqa: TID251 - long enough for bytes to cross the loopback, if there were any

    assert wire.received == []


async def test_a_submit_that_is_cancelled_before_its_moment_never_leaves(
    wire: Wire, service: CloudService, spec: JobSpec
) -> None:
    wire.answers = [wire.accepted]
    gate = gated(service)
    submit = asyncio.create_task(service.submit(spec))
    await gate.asked.wait()
    submit.cancel()
    with pytest.raises(asyncio.CancelledError):
        await submit
    gate.opened.set()

    assert (await service.submit(spec)).job.job_id == "j1"
    assert len(wire.received) == 1


async def test_a_submit_that_left_and_was_not_answered_stays_in_doubt(
    wire: Wire, service: CloudService, spec: JobSpec
) -> None:
    wire.answers = [None]
    gated(service).opened.set()

    with pytest.raises(SendInDoubt):
        await service.submit(spec)

    assert len(wire.received) == 1
