"""Links of workers elsewhere: for one method on one path, for minutes, and for one assignment."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
import pytest
from yarl import URL

from orchestrator.domain.clock import SystemClock
from orchestrator.server.api import workers
from orchestrator.server.certificates import made_for
from orchestrator.server.http.body import pieces
from orchestrator.server.pace import Progression
from orchestrator.server.settings import RaySettings
from orchestrator.server.workers import exchange, node
from orchestrator.server.workers.node import Order, Separator
from orchestrator.server.workers.protocol import WorkTask
from orchestrator.server.workers.ray import RayWorkers
from orchestrator.server.workers.transfers import AssignmentOver, Links, TransferFailed
from tests.integration.server.conftest import COS_HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from orchestrator.server.http.request import Call
    from orchestrator.server.workers.exchange import Assignment, Exchange
    from tests.integration.server.conftest import Bench, Benches

HERE = Path(__file__).parent


class Desk:
    """A service with an open assignment."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        found = bench.service.parts.exchange
        assert found is not None
        self.exchange: Exchange = found
        self.progress: list[float] = []
        self.source = folder / "source.txt"
        self.source.write_text("ok")
        self.outputs = {stem: str(folder / f"{stem}.mp3") for stem in ("voice", "background")}
        self.assignment: Assignment = self.exchange.open(self.task(), self.progress.append)

    def task(self) -> WorkTask:
        mode = "AudioAndBackground"
        return WorkTask(str(self.source), self.outputs, mode, threads=1, job="j" + "0" * 32)

    @property
    def links(self) -> dict[str, Any]:
        return self.exchange.links(self.assignment)

    async def send(self, method: str, url: str, body: bytes = b"") -> tuple[int, bytes]:
        async with self.bench.http.request(method, URL(url, encoded=True), data=body) as answer:
            return answer.status, await answer.read()

    def stored(self, stem: str) -> bytes | None:
        path = Path(self.outputs[stem])
        return path.read_bytes() if path.exists() else None

    def order(self) -> Order:
        suffixes = {"source": ".txt", "voice": ".mp3", "background": ".mp3"}
        return Order(self.task(), suffixes, self.links, report_s=0.02)


async def open_nothing(self: RayWorkers, on_capacity: Callable[[], None]) -> None:
    """A cluster without nodes."""


@pytest.fixture
async def desk(start: Benches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(RayWorkers, "open", open_nothing)
    return Desk(await start(ray=RaySettings(), progression=Progression()), tmp_path)


async def test_a_worker_reads_the_input_puts_stems_and_reports(desk: Desk) -> None:
    links = desk.links
    assert await desk.send("GET", links["source"]) == (200, b"ok")
    assert await desk.send("PUT", links["stems"]["voice"], b"sound") == (200, b"")
    report = orjson.dumps({"progress": 0.25, "log": ["info: a line"]})
    status, fresh = await desk.send("POST", links["report"], report)

    assert desk.stored("voice") == b"sound"
    assert desk.assignment.stored == {"voice"}
    assert desk.progress == [0.25]
    assert status == 200
    assert orjson.loads(fresh).keys() == links.keys()


@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("PUT", lambda links: links["source"]),
        ("GET", lambda links: links["stems"]["voice"]),
        ("PUT", lambda links: links["stems"]["voice"].replace("/voice?", "/background?")),
        ("POST", lambda links: links["report"].replace("q-ak=worker", "q-ak=someone")),
        ("GET", lambda links: links["source"].partition("?")[0]),
    ],
)
async def test_a_link_is_for_one_method_and_one_path(
    desk: Desk, method: str, change: Callable[[dict[str, Any]], str]
) -> None:
    status, body = await desk.send(method, change(desk.links), b"{}")

    assert status == 403, body
    assert {desk.stored(stem) for stem in desk.outputs} == {None}


async def test_a_link_expires(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    links = desk.links
    later = SystemClock().now() + exchange.LINK_S + 2
    monkeypatch.setattr(desk.bench.service.clock, "now", lambda: later)
    status, body = await desk.send("GET", links["source"])

    assert (status, b"Request has expired" in body) == (403, True)


async def test_the_keys_of_users_open_no_link(desk: Desk) -> None:
    path = urlsplit(desk.links["source"]).path
    assert (await desk.bench.raw("GET", path, host=COS_HOST)).status == 403


async def test_nothing_of_an_attempt_that_has_ended_is_accepted(desk: Desk) -> None:
    links = desk.links
    desk.exchange.close(desk.assignment)

    for method, link in (
        ("GET", links["source"]),
        ("PUT", links["stems"]["voice"]),
        ("POST", links["report"]),
    ):
        status, _ = await desk.send(method, link, b"{}")
        assert status == 410
    assert desk.stored("voice") is None


async def test_a_stem_that_arrives_while_its_attempt_ends_is_dropped(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def late(call: Call, limits: Any) -> AsyncIterator[bytes]:
        async for piece in pieces(call, limits):
            yield piece
        desk.exchange.close(desk.assignment)

    monkeypatch.setattr(workers, "pieces", late)
    status, _ = await desk.send("PUT", desk.links["stems"]["voice"], b"late")

    assert status == 410
    assert [path.name for path in desk.source.parent.glob("*voice*")] == []


async def test_a_report_that_is_not_one_is_refused(desk: Desk) -> None:
    for body in (b"", b"[]", b'{"log": 3}', b'{"progress": "x"'):
        status, _ = await desk.send("POST", desk.links["report"], body)
        assert status == 400
    assert desk.progress == []


async def test_the_actor_does_a_whole_task_with_its_links(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    actor = Separator("poison:behave", "")

    outcome = await desk.bench.call(actor.separate, desk.order())

    assert outcome.keys() == {"done"}, outcome
    assert desk.assignment.stored == {"voice", "background"}
    assert all((desk.stored(stem) or b"")[:4] == b"RIFF" for stem in desk.outputs)


@pytest.mark.parametrize(
    ("what", "kind", "said"),
    [
        ("refused", "failed", "no sound"),
        ("raises", "failed", "a library's complaint"),
        ("hungry", "lost", "out of memory"),
        ("at fault", "at_fault", "The disk is full"),
    ],
)
async def test_the_outcome_says_if_another_node_can_do_the_task(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, what: str, kind: str, said: str
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    desk.source.write_text(what)
    outcome: Any = await desk.bench.call(Separator("poison:behave", "").separate, desk.order())

    assert outcome.keys() == {kind}
    assert said in outcome[kind]["message"]
    assert desk.assignment.stored == set()


async def test_an_actor_stops_soon_when_its_attempt_ends(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    gate = desk.source.parent / "gate"
    desk.source.write_text(f"until {gate}")
    working = desk.bench.call(Separator("poison:behave", "").separate, desk.order())

    async def end() -> bool:
        if any(gate.parent.glob("gate.*")):
            desk.exchange.close(desk.assignment)
            return True
        return False

    task = asyncio.ensure_future(working)
    await desk.bench.until(end)
    assert await task == {"lost": {"message": "The assignment has ended."}}


async def test_a_transfer_is_tried_again_and_a_cut_one_is_not_taken_for_whole(
    desk: Desk, tmp_path: Path
) -> None:
    """A server that closes in the middle of its second answer, too."""
    import socket

    said = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"
    answers = [said + b"cut", said + b"cut", said + b"all of it"]

    def serve() -> None:
        for answer in answers:
            connection, _ = listening.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/x?y"
        await desk.bench.call(Links().get, url, tmp_path / "taken")
        thread.join()
    assert (tmp_path / "taken").read_bytes() == b"all of it"

    with pytest.raises(TransferFailed, match="could not be read"):
        await desk.bench.call(Links().get, url, tmp_path / "nothing")


async def test_a_node_says_why_it_does_not_reach_the_service(desk: Desk) -> None:
    url = desk.exchange.url
    assert (await desk.bench.call(node.facts, "", "", url)).unreachable == ""
    assert (
        "refused" in (await desk.bench.call(node.facts, "", "", "http://127.0.0.1:1")).unreachable
    )


async def test_links_of_a_service_with_tls_are_verified(
    start: Benches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RayWorkers, "open", open_nothing)
    tls = made_for(tmp_path / "root", "127.0.0.1", "ap-chongqing")
    assert tls.authority is not None
    authority = tls.authority.read_text()
    desk = Desk(await start(ray=RaySettings(), progression=Progression(), tls=tls), tmp_path)

    await desk.bench.call(Links(authority).get, desk.links["source"], tmp_path / "taken")
    assert desk.links["source"].startswith("https://")
    with pytest.raises(TransferFailed, match="certificate"):
        await desk.bench.call(Links().get, desk.links["source"], tmp_path / "not taken")


async def test_a_put_is_refused_with_the_reason_of_the_service(desk: Desk) -> None:
    with pytest.raises(TransferFailed, match="status 403"):
        await desk.bench.call(Links().put, desk.links["source"], desk.source)
    desk.exchange.close(desk.assignment)
    with pytest.raises(AssignmentOver):
        await desk.bench.call(Links().put, desk.links["stems"]["voice"], desk.source)
