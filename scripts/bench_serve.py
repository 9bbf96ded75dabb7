"""Measure the local service without work, against bare aiohttp handlers.

It reports submits and queries per second, and memory over many jobs. Each server is a process on
the last core. The same client calls them in turn, over the same number of connections, with
requests that were built and signed in advance. The *bare* handler reads the body and answers with
as many bytes, on the least that aiohttp has (``web.Server``); *app* is the same handler with a
route in a ``web.Application``, as programs usually have it. They are quicker than the client, so
the servers' processor times are compared. All run on the same kind of event loop. The service
verifies the signature, parses the XML, and has the job on disk before it answers. Jobs are held:
none is ever started.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

# Measure this tree, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bench_runner
from bench_stub import pin
from bench_table import memory_mb, show

from orchestrator.cli.interpreter import loop_factory, tune
from orchestrator.client.wire.request import PreparedRequest, prepare, query_request
from orchestrator.client.wire.signature import signing_key
from orchestrator.client.wire.submit import SubmitForm
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.spec import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CALLS = ("submit", "query")
IDS_PER_QUERY = 10
ANSWER_BYTES = {"POST": 980, "GET": 9_460}
"""Size of the bare handler's answers: that of the service to a submit and to a query of ten."""


# --- the servers, each in its own process


async def serve_bare(*, with_routes: bool) -> None:
    """Run a handler that only reads and answers."""
    from aiohttp import web

    runner: web.BaseRunner

    answers = {method: b"x" * size for method, size in ANSWER_BYTES.items()}

    async def handle(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=answers[request.method], content_type="application/xml")

    if with_routes:
        app = web.Application()
        app.add_routes([web.post("/jobs", handle), web.get("/jobs/{ids}", handle)])
        runner = web.AppRunner(app, access_log=None)
    else:
        runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    await _answer_questions(f"http://127.0.0.1:{runner.addresses[0][1]}")


async def serve_local(root: Path) -> None:
    """Run the local service; it holds every job."""
    from orchestrator.server.http.key_pairs import KeyPair
    from orchestrator.server.pace import Pace, Progression
    from orchestrator.server.service import LocalService
    from orchestrator.server.settings import LocalSettings

    keys = KeyPair(bench_runner.KEYS.secret_id, bench_runner.KEYS.secret_key)
    settings = LocalSettings(
        root=root,
        credentials=(keys,),
        progression=Progression(Pace.HOLD),
        queue_max_size=10_000_000,
    )
    (root / bench_runner.BUCKET).mkdir()
    tune()  # as the command does
    async with LocalService(settings, SystemClock()) as service:
        await _answer_questions(service.url)


async def _answer_questions(url: str) -> None:
    """Print the address, then the resources used after each input line; an empty line ends it."""
    print(url, flush=True)
    loop = asyncio.get_running_loop()
    while (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        print(json.dumps({"cpu_s": process_time(), "mb": memory_mb()}), flush=True)


class Server:
    """One server process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = self._line()

    def used(self) -> dict[str, float]:
        """Return its processor seconds and resident MB."""
        assert self._process.stdin is not None  # noqa: S101 - opened as a pipe
        self._process.stdin.write("used\n")
        self._process.stdin.flush()
        used: dict[str, float] = json.loads(self._line())
        return used

    def _line(self) -> str:
        assert self._process.stdout is not None  # noqa: S101 - opened as a pipe
        return self._process.stdout.readline().strip()


@contextmanager
def running(kind: str, folder: Path) -> Iterator[Server]:
    """Run a server in a process."""
    command = [sys.executable, __file__, f"--serve={kind}", f"--folder={folder}"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Server(process)
    finally:
        process.kill()
        process.wait()


# --- the client


class Sender(asyncio.Protocol):
    """One connection that sends the next request after each complete answer."""

    def __init__(self, queue: Iterator[bytes], answers: list[bytes]) -> None:
        self._queue = queue
        self._answers = answers
        self._rest = b""
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # a stream socket has no other kind
        self._next()

    def data_received(self, data: bytes) -> None:
        """Keep the body of a complete answer, and send the next request."""
        self._rest += data
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._rest[:end].lower()
        start = head.index(b"content-length:") + 15
        length = int(head[start:].split(b"\r\n", 1)[0])
        if len(self._rest) < end + 4 + length:
            return
        if b" 200 " not in head[:20]:
            self.done.set_exception(RuntimeError(self._rest.decode(errors="replace")[:2000]))
            self._transport.close()
            return
        self._answers.append(self._rest[end + 4 :])
        self._rest = b""
        self._next()

    def _next(self) -> None:
        request = next(self._queue, None)
        if request is not None:
            self._transport.write(request)
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


def raw(prepared: PreparedRequest) -> bytes:
    """Return the bytes of a prepared request."""
    target = "/" + prepared.url.split("/", 3)[3]
    lines = [
        f"{prepared.method} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in prepared.headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + prepared.body


async def send(url: str, requests: Sequence[bytes], connections: int) -> tuple[float, list[bytes]]:
    """Send all requests; return the seconds they took and the bodies of the answers."""
    host, port = url.removeprefix("http://").split(":")
    queue = iter(requests)
    answers: list[bytes] = []
    loop = asyncio.get_running_loop()
    started = perf_counter()
    made = [
        await loop.create_connection(lambda: Sender(queue, answers), host, int(port))
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    return perf_counter() - started, answers


# --- the run


class Client:
    """Builds requests and measures a server with them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._count = 0
        self.ids: list[str] = []

    def submits(self, count: int) -> list[bytes]:
        """Return requests for new jobs."""
        key = signing_key(bench_runner.KEYS, SystemClock().now())
        first, self._count = self._count, self._count + count
        form = SubmitForm(Place(bench_runner.BUCKET, bench_runner.REGION), key)
        return [
            raw(form.prepare(bench_runner.spec(number))) for number in range(first, first + count)
        ]

    def queries(self, count: int) -> list[bytes]:
        """Return requests that query ten known jobs each."""
        key = signing_key(bench_runner.KEYS, SystemClock().now())
        place, known = Place(bench_runner.BUCKET, bench_runner.REGION), self.ids
        groups = [
            [known[(turn * IDS_PER_QUERY + place_) % len(known)] for place_ in range(IDS_PER_QUERY)]
            for turn in range(count)
        ]
        return [raw(prepare(query_request(place, ids), key)) for ids in groups]

    def measure(self, server: Server, requests: list[bytes]) -> tuple[float, float, list[bytes]]:
        """Return requests per second, server CPU microseconds per request, and the answers."""
        before = server.used()
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            took_s, answers = runner.run(send(server.url, requests, self._options.connections))
        cpu_s = server.used()["cpu_s"] - before["cpu_s"]
        return len(requests) / took_s, cpu_s / len(requests) * 1e6, answers


def rounds(
    client: Client, servers: dict[str, Server], options: argparse.Namespace
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Measure both calls on both servers in turn."""
    seen: dict[tuple[str, str], list[tuple[float, float]]] = {
        (call, kind): [] for call in CALLS for kind in servers
    }
    for _ in range(options.rounds):
        for call in CALLS:
            requests = (
                client.submits(options.requests)
                if call == "submit"
                else client.queries(options.requests // 4)
            )
            for kind, server in servers.items():
                per_s, cpu_us, answers = client.measure(server, requests)
                seen[call, kind].append((per_s, cpu_us))
                if call == "submit" and kind == "local":
                    client.ids = [
                        answer.split(b"<JobId>", 1)[1].split(b"<", 1)[0].decode()
                        for answer in answers
                    ]
    return seen


def fill(client: Client, server: Server, jobs: int) -> tuple[float, float]:
    """Submit ``jobs`` further jobs; return the MB before and after."""
    before = server.used()["mb"]
    for start in range(0, jobs, 10_000):
        client.measure(server, client.submits(min(10_000, jobs - start)))
    return before, server.used()["mb"]


def main() -> None:
    """Measure and compare."""
    options = parsed()
    if options.serve:
        pin(-1)
        work = (
            serve_local(options.folder)
            if options.serve == "local"
            else serve_bare(with_routes=options.serve == "app")
        )
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(work)
        return
    client = Client(options)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with (
            running("bare", folder) as bare,
            running("app", folder) as app,
            running("local", folder) as local,
        ):
            pin(0)  # after the servers have seen both cores
            seen = rounds(client, {"bare": bare, "app": app, "local": local}, options)
            memory = fill(client, local, options.jobs)
    report(seen, memory, options)


def speed_of(
    seen: dict[tuple[str, str], list[tuple[float, float]]], call: str, kind: str, base: str
) -> str:
    """Return the speed of a server in relation to another one, by their processor times."""
    pairs = zip(seen[call, kind], seen[call, base], strict=True)
    return f"{median(theirs / ours for (_, ours), (_, theirs) in pairs):.1%}"


def report(
    seen: dict[tuple[str, str], list[tuple[float, float]]],
    memory: tuple[float, float],
    options: argparse.Namespace,
) -> None:
    """Print the table. Ratios are medians of the ratios inside each round.

    They compare the servers' processor times. The rates would compare the client as well: the bare
    handler is quicker than the client can ask.
    """
    rows: list[tuple[Any, ...]] = []
    for call in CALLS:
        for kind in ("bare", "app", "local"):
            rates = [per_s for per_s, _ in seen[call, kind]]
            cpu_us = median(us for _, us in seen[call, kind])
            shares = [speed_of(seen, call, kind, base) for base in ("bare", "app")]
            rows.append((f"{call}, {kind}", f"{median(rates):,.0f}", f"{cpu_us:.0f}", *shares))
    before, after = memory
    show(
        f"serve: {options.requests:,} submits, {options.requests // 4:,} queries of "
        f"{IDS_PER_QUERY} jobs, {options.rounds} rounds in turn",
        ("call", "requests/s", "CPU us/request", "of bare, by CPU", "of app, by CPU"),
        rows,
        [
            (
                f"memory over {options.jobs:,} jobs: {before:.0f} -> {after:.0f} MB, "
                f"{(after - before) * 2**20 / options.jobs:.0f} bytes per job"
            )
        ],
    )


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench serve", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--quick", action="store_true", help="a few seconds: fewer requests, rounds and jobs"
    )
    parser.add_argument(
        "--requests", type=int, help="submits per measurement (default 8000, quick 1500)"
    )
    parser.add_argument("--rounds", type=int, help="rounds (default 5, quick 2)")
    parser.add_argument(
        "--jobs", type=int, help="jobs of the memory measurement (default 100000, quick 3000)"
    )
    parser.add_argument("--connections", type=int, default=64, help="connections (default 64)")
    parser.add_argument(
        "--folder",
        type=Path,
        help="folder of the service's files (default: the temporary folder)",
    )
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.requests = options.requests or (1_500 if options.quick else 8_000)
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.jobs = options.jobs or (3_000 if options.quick else 100_000)
    return options


if __name__ == "__main__":
    main()
