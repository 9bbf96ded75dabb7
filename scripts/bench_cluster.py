"""Measure separation on a Ray cluster against the process pool, and simulate 100 nodes.

Both do the same files on this machine, in turn, round by round, with one worker (two threads on two
cores) and with two. A round starts a service, warms each worker with a file, then times the others
from the first submit to the last end. The ratio is the median of the rounds' ratios. The processor
time is that of all processes of the service, with Ray's own; it is the steadier figure on a busy
machine. The cluster's
workers get the input and put the stems over HTTP; the pool's read and write the files in place.

``--costs`` measures the processor time of the service for each kind of request of a worker.
``--simulate`` measures nothing: it computes in virtual time what a service on one machine and
100 nodes do, and what saturates first. docs/scaling.md has the tables.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, thread_time
from typing import TYPE_CHECKING

# Measure this tree, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bench_cluster_model
import bench_runner
import bench_separation
import orjson
from bench_table import judged, show

from orchestrator.client.wire.signature import signing_key
from orchestrator.client.wire.submit import SubmitForm
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.spec import Place
from orchestrator.separation.cores import usable_cores
from orchestrator.server.http.key_pairs import KeyPair
from orchestrator.server.pace import Pace, Progression
from orchestrator.server.service import LocalService
from orchestrator.server.settings import LocalSettings, MissingInput, RaySettings
from orchestrator.server.workers.protocol import WorkTask
from orchestrator.server.workers.transfers import Links

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from orchestrator.client.wire.request import PreparedRequest

KINDS = ("pool", "ray")
LEAST = 0.95
"""Throughput of the cluster, compared with the pool."""


def settings(kind: str, workers: int, root: Path) -> LocalSettings:
    """Return the settings of a service with so many workers, which share the cores."""
    keys = KeyPair(bench_runner.KEYS.secret_id, bench_runner.KEYS.secret_key)
    if kind == "pool":
        return LocalSettings(root, credentials=(keys,), max_concurrent=workers)
    return LocalSettings(
        root, credentials=(keys,), ray=RaySettings(cpus=max(1, usable_cores() // workers))
    )


def processor_s(pid: int | str = "self") -> float:
    """Return the processor seconds of a process and all that descend from it."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        children = "".join(
            path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")
        ).split()
    except OSError:  # it has ended; its parent has its time
        return 0.0
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # with children that have ended
    return own + sum(processor_s(child) for child in children)


async def timed(kind: str, workers: int, root: Path, files: int) -> tuple[float, float]:
    """Return seconds and processor seconds in which warm workers separate so many files."""
    import aiohttp

    shutil.rmtree(root / ".service", ignore_errors=True)
    async with (
        LocalService(settings(kind, workers, root), SystemClock()) as service,
        aiohttp.ClientSession() as http,
    ):
        numbers = iter(range(files + workers))
        await separate(service, http, [next(numbers) for _ in range(workers)])
        started, used = perf_counter(), processor_s()
        await separate(service, http, list(numbers))
        took = perf_counter() - started, processor_s() - used
    print(
        f"  {kind} x {workers}: {took[0]:.1f} s, {took[1]:.1f} CPU s", file=sys.stderr, flush=True
    )
    return took


async def separate(service: LocalService, http: object, numbers: Sequence[int]) -> None:
    """Submit the files with these numbers, and wait until all have ended well."""
    key = signing_key(bench_runner.KEYS, SystemClock().now())
    form = SubmitForm(Place(bench_runner.BUCKET, bench_runner.REGION), key)
    for number in numbers:
        await post(service, http, form.prepare(bench_runner.spec(number)))
    store = service.parts.store
    while (counts := store.counts()).get("Submitted", 0) + counts.get("Running", 0):
        await SystemClock().sleep(0.02)
    if set(counts) != {"Success"}:
        raise RuntimeError(f"the jobs ended as {counts}")


async def post(service: LocalService, http: object, prepared: PreparedRequest) -> None:
    """Send a prepared request to the service."""
    import aiohttp

    assert isinstance(http, aiohttp.ClientSession)  # noqa: S101
    url = service.url + "/" + prepared.url.split("/", 3)[3]
    async with http.post(url, data=prepared.body, headers=prepared.headers) as answer:
        if answer.status != 200:
            raise RuntimeError(await answer.text())


def media(root: Path, files: int, minutes: int) -> None:
    """Put as many copies of a file of so many minutes where the jobs look for them."""
    first: Path | None = None
    for number in range(files):
        path = root / bench_runner.BUCKET / bench_runner.spec(number).media.key
        path.parent.mkdir(parents=True, exist_ok=True)
        if first is None:
            bench_separation.in_worker("--generate", str(path), "--minutes", str(minutes))
            first = path
        else:
            shutil.copyfile(first, path)


def measured(
    root: Path, arguments: argparse.Namespace
) -> Iterator[tuple[int, dict[str, list[tuple[float, float]]]]]:
    """Yield both figures of each round, by kind, for one worker and for two."""
    for workers in arguments.workers:
        took: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
        for turn in range(arguments.rounds):
            for kind in KINDS if turn % 2 == 0 else KINDS[::-1]:
                took[kind].append(asyncio.run(timed(kind, workers, root, arguments.files)))
        yield workers, took


COSTS = {"report": 2000, "get": 100, "put": 100}
"""Requests of each kind; those with a file have one of ``MB``."""
MB = 10


async def costs(root: Path) -> None:
    """Print the processor time of the service for each kind of request of a worker."""
    import aiohttp

    (root / bench_runner.BUCKET).mkdir(parents=True)
    source, stem = root / "source", root / "voice"
    source.write_bytes(bytes(MB << 20))
    with_nothing_to_read = replace(settings("ray", 1, root), missing_input=MissingInput.IGNORE)
    async with (
        LocalService(with_nothing_to_read, SystemClock()) as service,
        aiohttp.ClientSession() as http,
    ):
        exchange = service.parts.exchange
        assert exchange is not None  # noqa: S101 - the settings name a cluster
        task = WorkTask(str(source), {"voice": str(stem)}, "", job="j")
        assignment = exchange.open(task, lambda _: None)
        rows = []
        for kind, count in COSTS.items():
            client = await asyncio.create_subprocess_exec(
                *(sys.executable, __file__, "--client", kind, str(source)), stdin=PIPE, stdout=PIPE
            )
            assert client.stdin is not None  # noqa: S101 - opened as a pipe
            before = thread_time(), process_time()
            await client.communicate(orjson.dumps(exchange.links(assignment)))
            used = thread_time() - before[0], process_time() - before[1]
            rows.append((kind, *(f"{each / count * 1e6:,.0f}" for each in used)))
        before = thread_time(), process_time()
        count = 200
        service.parts.scheduler.progression = Progression(Pace.IMMEDIATE)
        await separate(service, http, range(count))
        used = thread_time() - before[0], process_time() - before[1]
        rows.append(("job", *(f"{each / count * 1e6:,.0f}" for each in used)))
    show(
        f"processor time of the service, us per request; files of {MB} MB",
        ("request", "event loop", "all threads"),
        rows,
    )


def be_client(kind: str, source: Path) -> None:
    """Send requests of one kind, like a worker."""
    links = orjson.loads(sys.stdin.buffer.read())
    sender = Links()
    acts: dict[str, Callable[[], object]] = {
        "report": lambda: sender.post(links["report"], b'{"progress": 0.5, "log": []}', 30),
        "get": lambda: sender.get(links["source"], source.with_name("taken")),
        "put": lambda: sender.put(links["stems"]["voice"], source),
    }
    for _ in range(COSTS[kind]):
        acts[kind]()


def main() -> None:
    """Measure and print, or simulate and print."""
    arguments = parsed()
    if arguments.client:
        be_client(arguments.client[0], Path(arguments.client[1]))
        return
    if arguments.costs:
        with tempfile.TemporaryDirectory() as name:
            asyncio.run(costs(Path(name)))
        return
    if arguments.simulate:
        bench_cluster_model.main()
        return
    sound_min = arguments.files * arguments.minutes
    rows, notes = [], []
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        media(root, arguments.files + max(arguments.workers), arguments.minutes)
        for workers, took in measured(root, arguments):
            pairs = list(zip(took["pool"], took["ray"], strict=True))
            ratios = [pool[0] / ray[0] for pool, ray in pairs]
            cpu = median(pool[1] / ray[1] for pool, ray in pairs)
            speeds = [
                f"{sound_min / median(wall for wall, _ in took[kind]) * 60:,.0f}" for kind in KINDS
            ]
            spread = f"{min(ratios):.1%} to {max(ratios):.1%}"
            rows.append((workers, *speeds, f"{median(ratios):.1%}", spread, f"{cpu:.1%}"))
            notes.append(judged(f"{workers} worker(s): ray / pool", median(ratios), LEAST))
    show(
        f"{arguments.files} files of {arguments.minutes} minutes, {arguments.rounds} rounds",
        ("workers", "pool, min of sound/min", "ray", "ray / pool", "rounds", "by processor time"),
        rows,
        notes,
    )


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=8, help="files of a round (default: 8)")
    parser.add_argument("--minutes", type=int, default=3, help="length of a file (default: 3)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of both (default: 3)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="(default: 1 2)")
    parser.add_argument("--simulate", action="store_true", help="simulate 100 nodes instead")
    parser.add_argument("--costs", action="store_true", help="measure the requests of workers")
    parser.add_argument("--client", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
