"""The live server over HTTP, with a run that is made up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from orchestrator.domain.clock import SystemClock
from orchestrator.errors import ConfigError
from orchestrator.live.server import LiveServer

if TYPE_CHECKING:
    from pathlib import Path

CLOCK = SystemClock()
PAGE = 1000


class MadeUp:
    """A run with any number of rows."""

    def __init__(self, rows: int, folder: Path) -> None:
        self.registry = CollectorRegistry()
        self.run = "made-up-1"
        self.reads = 0
        self._rows = rows
        self._folder = folder

    async def page(self) -> bytes:
        return b"<!doctype html>"

    async def rows(self, after: int) -> tuple[list[Any], int]:
        self.reads += 1
        last = min(after + PAGE, self._rows)
        return [{"key": f"v1.{number}", "text": "x" * 100} for number in range(after, last)], last

    def now(self) -> dict[str, Any]:
        return {"jobs": {}}

    async def totals(self, *, is_last: bool) -> dict[str, Any]:
        return {"jobs": self._rows, "is_last": is_last}

    def media(self, bucket: str, key: str) -> Path | None:
        return self._folder / "a.wav" if (bucket, key) == ("tapes", "a b.wav") else None


async def events(answer: aiohttp.ClientResponse) -> list[tuple[str, Any, str]]:
    """Return the events until the server ends them: kind, content and id."""
    found: list[tuple[str, Any, str]] = []
    fields: dict[str, str] = {}
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        else:
            found.append((fields["event"], json.loads(fields["data"]), fields.get("id", "")))
            fields = {}
    return found


async def test_a_million_events_pass_and_none_is_kept_for_a_browser_that_sleeps(
    tmp_path: Path,
) -> None:
    watched = MadeUp(1_000_000, tmp_path)
    async with (
        aiohttp.ClientSession(read_bufsize=2**16) as session,
        LiveServer("127.0.0.1", 0, watched, CLOCK.sleep) as server,
    ):
        sleeper = await session.get(f"{server.url}events")
        while True:  # until the buffers of both ends are full, and nothing moves
            reads = watched.reads
            await CLOCK.sleep(0.2)
            if watched.reads == reads:
                break
        assert reads < 200, "the server reads ahead of those who watch"

        answer = await session.get(f"{server.url}events?after=made-up-1/900000")
        rows, last = 0, ""
        while rows < 100_000:
            line = (await answer.content.readuntil(b"\n\n")).decode()
            if "event: rows" in line:
                rows += line.count('"key"')
                last = line.partition("\n")[0]
        assert (rows, last) == (100_000, "id: made-up-1/1000000")
        answer.close()
        sleeper.close()


async def test_those_who_watch_receive_the_last_news_before_the_server_ends(tmp_path: Path) -> None:
    watched = MadeUp(3, tmp_path)
    async with aiohttp.ClientSession() as session:
        async with LiveServer("127.0.0.1", 0, watched, CLOCK.sleep) as server:
            first = await session.get(f"{server.url}events")
            other = await session.get(f"{server.url}events", headers={"Last-Event-ID": "older/3"})
        received = await events(first)

        assert [kind for kind, _, _ in received][-1] == "end"
        assert ("totals", {"is_last": True}) in [(kind, each) for kind, each, _ in received]
        assert [number for kind, _, number in received if kind == "rows"] == ["made-up-1/3"]
        assert [kind for kind, _, _ in await events(other)] == ["reload"]


async def test_sounds_are_served_in_parts_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(bytes(range(100)))
    async with (
        aiohttp.ClientSession() as session,
        LiveServer("127.0.0.1", 0, MadeUp(0, tmp_path), CLOCK.sleep) as server,
    ):
        part = await session.get(
            f"{server.url}media/tapes/a%20b.wav", headers={"Range": "bytes=10-19"}
        )
        assert (part.status, await part.read()) == (206, bytes(range(10, 20)))
        for path in ("media/tapes/b.wav", "media/tapes/..%2Fa%20b.wav", "media/other/a%20b.wav"):
            assert (await session.get(f"{server.url}{path}")).status == 404
        assert (await session.post(server.url)).status == 405


async def test_an_address_that_cannot_be_listened_on_is_named(tmp_path: Path) -> None:
    server = LiveServer("192.0.2.1", 8765, MadeUp(0, tmp_path), CLOCK.sleep)

    with pytest.raises(ConfigError, match=r"--live 192\.0\.2\.1:8765: cannot listen there"):
        async with server:
            pass


@pytest.mark.parametrize(
    ("host", "port", "token", "is_known"),
    [
        ("127.0.0.1", 8765, "", True),
        ("127.0.0.1", 0, "", False),
        ("0.0.0.0", 8765, "", False),
        ("0.0.0.0", 8765, "chosen", True),
        ("0.0.0.0", 0, "chosen", False),
    ],
)
async def test_an_address_is_known_if_nothing_in_it_was_drawn(
    tmp_path: Path, host: str, port: int, token: str, is_known: bool
) -> None:
    """A quiet run prints the others."""
    assert LiveServer(host, port, MadeUp(0, tmp_path), CLOCK.sleep, token).is_known is is_known
