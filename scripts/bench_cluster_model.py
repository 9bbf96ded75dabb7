"""A service and many nodes in virtual time: queue, bandwidth, processor of the service.

The choice of nodes is that of the product (``Board``). The rest is a model. A job waits in the
queue, gets a worker, reads its input, separates, puts its stems and ends. The service has one
event loop (one core), which all requests share in turn, threads that hash stems, and a network
whose two directions are shared equally by the transfers. Its costs per request were measured with
``scripts/bench cluster --costs``. The clock stops when the queue is empty.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Measure this tree, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench_table import show

from orchestrator.server.workers.placement import Board, Need, Node
from orchestrator.testing.loop import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

GB = 1 << 30


@dataclass(frozen=True)
class Costs:
    """Processor seconds of the service; all but the last one are those of its event loop."""

    job_s: float = 0.0023
    """Submit, start, end, and the three transfers of a job without their bytes."""
    report_s: float = 0.00033
    get_s_per_mb: float = 0.00019
    put_s_per_mb: float = 0.00076
    hash_s_per_mb: float = 0.0013
    """MD5 and CRC-64 of a stem, in the storage threads."""


@dataclass(frozen=True)
class Load:
    """What is asked of the cluster.

    Attributes:
        nodes: Nodes.
        cores: Workers of each node, one core each.
        minutes: Mean length of a file.
        input_mb: Size of a minute of input.
        stems_mb: Size of a minute of all stems.
        gbit: Bandwidth of the service's network, in each direction.
        jobs_per_worker: Jobs in the queue at the start, for each worker.
    """

    name: str
    nodes: int
    cores: int
    minutes: float
    input_mb: float
    stems_mb: float
    gbit: float
    jobs_per_worker: int = 20


SECONDS_PER_MINUTE_OF_SOUND = 2.2
"""Work of one core of the measured machine (``scripts/bench separation``: 0.037 of real time)."""
REPORT_EVERY_S = 1.5
START_S = 3.0  # a new actor: Python, the package, the engine
SATURATED = 0.9
HASH_CORES = 3  # of a service with four cores; the event loop has the other one
LOOP, HASH, OUT, IN = "event loop", "hashing", "bandwidth out", "bandwidth in"


class Shared:
    """A resource that all requests share equally: a direction of a network, or a core."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._served = 0.0  # by each request that is there all the time
        self._at = 0.0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = iter(range(1 << 62))
        self._timer: asyncio.TimerHandle | None = None
        self.busy_s = 0.0

    async def use(self, amount: float) -> None:
        """Wait until an amount was served."""
        self._advance()
        done = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self._served + amount, next(self._numbers), done))
        self._plan()
        await done

    def _advance(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._waiting:
            self._served += (now - self._at) * self._per_s / len(self._waiting)
            self.busy_s += now - self._at
        self._at = now

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting:
            left = max(0.0, self._waiting[0][0] - self._served)
            delay_s = left * len(self._waiting) / self._per_s
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._finish)

    def _finish(self) -> None:
        self._advance()
        while self._waiting and self._waiting[0][0] <= self._served + 1e-9:
            done = heapq.heappop(self._waiting)[2]
            if not done.done():  # its job was cancelled at the end
                done.set_result(None)
        self._plan()


@dataclass
class Site:
    """The service and its nodes."""

    load: Load
    costs: Costs
    board: Board = field(init=False)
    shared: dict[str, Shared] = field(init=False)
    done: int = 0
    minutes: float = 0.0
    work_s: float = 0.0
    fetch_s: float = 0.0
    store_s: float = 0.0

    def __post_init__(self) -> None:
        mb_per_s = self.load.gbit * 1000 / 8 * 0.94  # without the headers of packets
        self.shared = {
            LOOP: Shared(1.0),
            HASH: Shared(HASH_CORES),
            OUT: Shared(mb_per_s),
            IN: Shared(mb_per_s),
        }
        nodes = [
            Node(f"n{n:03d}", f"n{n:03d}", self.load.cores, is_checked=True, free_bytes=64 * GB)
            for n in range(self.load.nodes)
        ]
        self.board = Board(Need(1, 0, GB), {node.node_id: node for node in nodes})

    async def run(self) -> float:
        """Do jobs until the queue is empty; return the seconds."""
        workers = self.board.capacity(0)
        queue = iter(lengths(workers * self.load.jobs_per_worker, self.load.minutes))
        working = {asyncio.ensure_future(self._worker(queue)) for _ in range(workers)}
        _, left = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        took_s = asyncio.get_running_loop().time()
        for task in left:
            task.cancel()
        return took_s

    async def _worker(self, queue: Iterator[float]) -> None:
        node = self.board.choose(0, ())
        assert node is not None  # noqa: S101 - there are as many workers as the board has room for
        node.workers += 1
        node.free_bytes -= GB
        await asyncio.sleep(START_S)  # noqa: TID251 - virtual time
        for minutes in queue:
            await self._job(minutes)

    async def _job(self, minutes: float) -> None:
        load, costs = self.load, self.costs
        loop = asyncio.get_running_loop()
        await self.shared[LOOP].use(costs.job_s)
        at = loop.time()
        await both(
            self.shared[OUT].use(minutes * load.input_mb),
            self.shared[LOOP].use(minutes * load.input_mb * costs.get_s_per_mb),
        )
        self.fetch_s += loop.time() - at
        end = loop.time() + minutes * SECONDS_PER_MINUTE_OF_SOUND
        while loop.time() < end:  # reports go out beside the work
            await asyncio.sleep(min(REPORT_EVERY_S, end - loop.time()))  # noqa: TID251
            _ = asyncio.ensure_future(self.shared[LOOP].use(costs.report_s))  # noqa: RUF006
        at = loop.time()
        await both(
            self.shared[IN].use(minutes * load.stems_mb),
            self.shared[LOOP].use(minutes * load.stems_mb * costs.put_s_per_mb),
        )
        await self.shared[HASH].use(minutes * load.stems_mb * costs.hash_s_per_mb)
        self.store_s += loop.time() - at
        self.work_s += minutes * SECONDS_PER_MINUTE_OF_SOUND
        self.done += 1


def lengths(count: int, mean: float) -> list[float]:
    """Return lengths of files like those of a library: most are short, a few are long."""
    chance = random.Random(7)  # noqa: S311 - the same in every run
    drawn = [min(10.0, chance.lognormvariate(0, 0.6)) for _ in range(count)]
    return [each * mean * count / sum(drawn) for each in drawn]


async def both(first: Awaitable[None], second: Awaitable[None]) -> None:
    """Wait for a transfer, which is limited by the network and by the processor."""
    await asyncio.gather(first, second)


MP3: Any = {"minutes": 4, "input_mb": 1.44, "stems_mb": 2.4}
FLAC: Any = {"minutes": 4, "input_mb": 6.0, "stems_mb": 2.4}
FLAC_BOTH: Any = {"minutes": 4, "input_mb": 6.0, "stems_mb": 12.0}
LOADS = [
    Load("mp3 to aac", 1, 8, gbit=1, **MP3),
    Load("mp3 to aac", 10, 8, gbit=1, **MP3),
    Load("mp3 to aac", 100, 2, gbit=1, **MP3),
    Load("mp3 to aac", 100, 8, gbit=1, **MP3),
    Load("mp3 to aac", 100, 8, gbit=10, **MP3),
    Load("flac to aac", 100, 2, gbit=1, **FLAC),
    Load("flac to aac", 100, 8, gbit=10, **FLAC),
    Load("flac to flac", 100, 2, gbit=10, **FLAC_BOTH),
    Load("flac to flac", 100, 8, gbit=10, **FLAC_BOTH),
]


def simulate(load: Load, costs: Costs) -> tuple[object, ...]:
    """Return the row of the table for a load."""
    site = Site(load, costs)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        took_s = runner.run(site.run())
    workers = load.nodes * load.cores
    share = site.work_s / workers / took_s
    used = {name: shared.busy_s / took_s for name, shared in site.shared.items()}
    first = max(used, key=lambda name: used[name])
    return (
        load.name,
        f"{load.nodes} x {load.cores}",
        f"{load.gbit:g}",
        f"{site.done / took_s:.1f}",
        f"{share:.0%}",
        f"{site.fetch_s / site.done:.1f}",
        f"{site.store_s / site.done:.1f}",
        *(f"{used[name]:.0%}" for name in (LOOP, HASH, OUT, IN)),
        first if used[first] > SATURATED else "the nodes",
    )


def main() -> None:
    """Print the table."""
    show(
        "100 nodes in virtual time: files of 4 minutes, all in the queue at the start",
        (
            *("files", "nodes x cores", "Gbit/s", "jobs/s", "nodes at work"),
            *("input s", "stems s", LOOP, HASH, OUT, IN, "limit"),
        ),
        [simulate(load, Costs()) for load in LOADS],
    )


if __name__ == "__main__":
    main()
