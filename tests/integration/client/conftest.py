"""Servers on loopback whose answers a test sets to the byte, and a client of them."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from orchestrator.client.credentials import Static
from orchestrator.client.endpoint import Endpoint, Timeouts
from orchestrator.client.service import CloudService
from orchestrator.client.wire.signature import Credentials
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.spec import (
    AudioConfig,
    AudioMode,
    JobKey,
    JobSpec,
    MediaObject,
    Operation,
    Output,
    Place,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]] | None
    Connect = Callable[..., AbstractAsyncContextManager[CloudService]]

PLACE = Place("examplebucket-1250000000", "ap-chongqing")
SECRET, TOKEN = "the-secret-half", "the-session-token"
SPEC = JobSpec(
    JobKey("v1.key"),
    MediaObject(*PLACE, "incoming/song.mp3"),
    Operation(audio_mode=AudioMode.AUDIO_AND_BACKGROUND, audio=AudioConfig("mp3")),
    Output(*PLACE, voice="stems/voice.${ext}", background="stems/background.${ext}"),
)
ACCEPTED = (
    b"<Response><JobsDetail><Code>Success</Code><Message/><JobId>j1</JobId><State>Submitted</State>"
    b"<CreationTime>2024-05-01T10:00:00+0800</CreationTime><StartTime>-</StartTime><EndTime>-</EndTime><QueueId>p1</QueueId>"
    b"<Operation><UserData>v1.key</UserData></Operation></JobsDetail></Response>"
)
# Long enough for a busy machine.
PATIENT = Timeouts(connect_s=2.0, total_s=5.0)
HASTY = Timeouts(connect_s=0.35, total_s=0.4)


@dataclass
class Received:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Wire:
    """A server that reads requests and answers them one after the other.

    An answer is bytes (sent unchanged), a function that may do anything with the connection, or
    None, which closes it.
    When there are no more answers, the last one is given again.
    """

    answers: list[Reply] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    torn: list[bytes] = field(default_factory=list)  # what came of a request that was cut off

    def http(self, status: str, body: bytes = b"", **headers: str) -> bytes:
        """A whole answer; header names are written with underscores."""
        lines = [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
        return (
            "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *lines]).encode()
            + b"\r\n\r\n"
            + body
        )

    def error(self, status: str, code: str, message: str = "text", **headers: str) -> bytes:
        """An error answer of CI."""
        return self.http(
            status,
            f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode(),
            **headers,
        )

    @property
    def accepted(self) -> bytes:
        """The answer to a submit that became the job ``j1``."""
        return self.http("200 OK", ACCEPTED, x_ci_request_id="req-1")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while (request := await self._read(reader)) is not None:
                self.received.append(request)
                self.arrived.set()
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    return
                if isinstance(answer, bytes):
                    writer.write(answer)
                    await writer.drain()
                else:
                    await answer(writer)
        except ConnectionError:
            pass  # the client closed the connection, as some tests do
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Received | None:
        first = b""
        try:
            if (
                first := await reader.readexactly(1)
            ) == b"\x16":  # a TLS handshake: this server does not speak it
                return None
            head = first + await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            self.torn.append(first + error.partial)
            return None
        line, *lines = head.decode().split("\r\n")[:-2]
        method, target, _ = line.split(" ")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (text.partition(":") for text in lines)
        }
        return Received(
            method,
            target,
            headers,
            await reader.readexactly(int(headers.get("content-length", "0"))),
        )


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    """A server on loopback."""
    server_side = Wire()
    server = await asyncio.start_server(server_side.serve, "127.0.0.1", 0)
    server_side.port = server.sockets[0].getsockname()[1]
    async with server:
        yield server_side


@asynccontextmanager
async def client(
    url: str, connections: int = 4, timeouts: Timeouts = PATIENT
) -> AsyncIterator[CloudService]:
    """A client with a temporary key for everything at ``url``."""
    credentials = Static(Credentials("AKIDEXAMPLE", SECRET, TOKEN))
    async with CloudService(
        Endpoint(url, url), credentials, SystemClock(), connections=connections, timeouts=timeouts
    ) as service:
        yield service


@pytest.fixture
async def service(wire: Wire) -> AsyncIterator[CloudService]:
    """A client of the server."""
    async with client(wire.url) as ours:
        yield ours


@pytest.fixture
async def hasty(wire: Wire) -> AsyncIterator[CloudService]:
    """A client of the server that waits less than half a second."""
    async with client(wire.url, timeouts=HASTY) as ours:
        yield ours


@pytest.fixture
def connect() -> Connect:
    """Return the function that makes a client of any URL."""
    return client


@pytest.fixture
def spec() -> JobSpec:
    """A job."""
    return SPEC


@pytest.fixture
def secrets() -> tuple[str, ...]:
    """Texts that no message may contain."""
    return SECRET, TOKEN, "q-signature"
