"""Measure the submit path against a bare signed aiohttp loop, alternating, on one stub server.

*bare* signs with the same function, builds the same XML, POSTs over as many connections and reads
the answer's bytes: nothing else. *client* is the client alone. *engine* is the whole submit path,
from job specs to durable answers: ledger on disk with a sync per group, limiter, ready queue,
retry, events. *planned* adds the planner reading a csv list. Every measurement is a process of its
own on the first core; the stub has the last one. The measured time is that from the first to the
last POST at the stub; nothing is tracked in that time.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import gc
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import process_time
from typing import TYPE_CHECKING

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # measures this tree, installed or not

from bench_stub import pin, running_stub
from bench_table import judged, show

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bench_stub import Stub

    from orchestrator.domain.spec import JobSpec

MIN_RATIO = 0.50
KINDS = ("bare", "client", "engine", "planned")


# --- measurements, each in a process of its own ----------------------------------------------


async def bare(url: str, specs: list[JobSpec], connections: int) -> None:
    """Send by a plain loop, without anything that keeps jobs safe."""
    import aiohttp
    from bench_runner import BUCKET, KEYS, REGION
    from yarl import URL

    from orchestrator.client.wire.signature import authorization, signing_key
    from orchestrator.client.wire.submit import submit_body
    from orchestrator.domain.clock import SystemClock

    target = URL(f"{url}/jobs")
    key = signing_key(KEYS, SystemClock().now())
    queue = iter(specs)

    async def work(session: aiohttp.ClientSession) -> None:
        for spec in queue:
            body = submit_body(spec)
            headers = {
                "host": f"{BUCKET}.ci.{REGION}.myqcloud.com",
                "content-type": "application/xml",
                "content-length": str(len(body)),
            }
            headers["authorization"] = authorization(key, "POST", "/jobs", {}, headers)
            async with session.post(target, data=body, headers=headers) as response:
                await response.read()

    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
    ) as session:
        await asyncio.gather(*(work(session) for _ in range(connections)))


async def client(url: str, specs: list[JobSpec], connections: int) -> None:
    """Send by the client alone."""
    import bench_runner

    queue = iter(specs)
    async with bench_runner.client(url, connections) as service:

        async def work() -> None:
            for spec in queue:
                await service.submit(spec)

        await asyncio.gather(*(work() for _ in range(connections)))


async def whole(url: str, specs: list[JobSpec], connections: int, folder: Path) -> None:
    """Run the whole submit path, from specs."""
    import bench_runner

    settings = bench_runner.submit_only(len(specs), connections)
    async with bench_runner.runner(
        url,
        folder / "bench.db",
        bench_runner.Count(goal=len(specs)),
        settings,
        rates=bench_runner.NO_QUERIES,
    ) as runner:
        await runner.run(bench_runner.feed(specs))


async def planned(url: str, jobs: int, connections: int, folder: Path) -> None:
    """Run the whole submit path, from a list file."""
    import bench_runner

    from orchestrator.manifest.planning.spec_stream import Feed

    manifest = bench_runner.write_list(folder, jobs)
    settings = bench_runner.submit_only(jobs, connections)
    async with bench_runner.runner(
        url,
        folder / "bench.db",
        bench_runner.Count(goal=jobs),
        settings,
        rates=bench_runner.NO_QUERIES,
    ) as runner:
        await runner.run(Feed(manifest, None).specs())


def work_of(
    kind: str, options: argparse.Namespace, folder: Path
) -> Callable[[], Coroutine[None, None, None]]:
    """Return the coroutine function of a kind of measurement."""
    from bench_runner import spec

    if kind == "planned":
        return lambda: planned(options.url, options.jobs, options.connections, folder)
    specs = [spec(number) for number in range(options.jobs)]
    if kind == "engine":
        return lambda: whole(options.url, specs, options.connections, folder)
    loop = bare if kind == "bare" else client
    return lambda: loop(options.url, specs, options.connections)


def measured(kind: str, options: argparse.Namespace) -> None:
    """Measure in this process, and print the processor time."""
    # Everything is imported before the clock runs.
    from orchestrator.cli.interpreter import loop_factory, tune

    pin(0)
    tune()  # as the command does, for every kind alike
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        work = work_of(kind, options, Path(folder))
        gc.collect()
        gc.freeze()  # the specs are there before the clock runs, for every kind alike
        profile = cProfile.Profile() if options.profile else None
        begun = process_time()
        with asyncio.Runner(loop_factory=None if options.no_uvloop else loop_factory()) as runner:
            if profile:
                profile.runcall(runner.run, work())
                profile.dump_stats(options.profile)
            else:
                runner.run(work())
        print(process_time() - begun)


# --- the run ---------------------------------------------------------------------------------


def measure(kind: str, stub: Stub, options: argparse.Namespace) -> tuple[float, float]:
    """Measure once: POSTs per second at the stub, and processor time per job in microseconds."""
    stub.reset()
    arguments = [
        f"--jobs={options.jobs}",
        f"--connections={options.connections}",
        f"--folder={options.folder}",
    ]
    arguments += ["--no-uvloop"] * options.no_uvloop + (
        [f"--profile={options.profile}.{kind}"] if options.profile else []
    )
    command = [sys.executable, __file__, f"--kind={kind}", f"--url={stub.url}", *arguments]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    stats = stub.stats()
    if stats["posts"] != options.jobs:
        raise SystemExit(f"{kind}: the stub saw {stats['posts']} POSTs instead of {options.jobs}")
    return (stats["posts"] - 1) / stats["span_s"], float(printed) / options.jobs * 1e6


def main() -> None:
    """Measure all kinds in turn, several rounds, and compare."""
    options = parsed()
    if options.kind:
        measured(options.kind, options)
        return
    kinds = options.only.split(",") if options.only else KINDS
    seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    with running_stub() as stub:
        for _ in range(options.rounds):
            for kind in kinds:
                seen[kind].append(measure(kind, stub, options))
    report(seen, options)


def report(seen: dict[str, list[tuple[float, float]]], options: argparse.Namespace) -> None:
    """Print the table.

    Ratios are medians of the ratios of the rounds, so that a busy machine slows both sides.
    """
    first = next(iter(seen))
    ratios = {
        kind: median(
            one / base for (one, _), (base, _) in zip(measured_ones, seen[first], strict=True)
        )
        for kind, measured_ones in seen.items()
    }
    rows = []
    for kind, measured_ones in seen.items():
        rates = [rate for rate, _ in measured_ones]
        cpu_us = median(cpu for _, cpu in measured_ones)
        rows.append(
            (
                kind,
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f}",
                f"{max(rates):,.0f}",
                f"{cpu_us:.0f}",
                f"{ratios[kind]:.1%}",
            )
        )
    show(
        f"submit: {options.jobs:,} jobs over {options.connections} connections,"
        f" {options.rounds} rounds in turn",
        ("path", "jobs/s (median)", "slowest", "fastest", "CPU us/job", f"of {first}"),
        rows,
        [judged("submit path, durable", ratios["engine"], MIN_RATIO)]
        if first == "bare" and "engine" in ratios
        else [],
    )


def parsed() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench submit", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="a few seconds: fewer jobs and rounds")
    parser.add_argument("--jobs", type=int, help="jobs per measurement (default 20000, quick 3000)")
    parser.add_argument("--rounds", type=int, help="rounds (default 5, quick 2)")
    parser.add_argument("--connections", type=int, default=64, help="connections (default 64)")
    parser.add_argument(
        "--only",
        help=f"kinds to measure, the first as the reference: {','.join(KINDS)}",
    )
    parser.add_argument(
        "--no-uvloop",
        action="store_true",
        help="asyncio's own loop in the client, although uvloop is there",
    )
    parser.add_argument("--folder", help="where the ledgers go (default: the temporary folder)")
    parser.add_argument(
        "--profile",
        metavar="FILE",
        help="write a cProfile of each kind to FILE.<kind>; the rates then mean nothing",
    )
    parser.add_argument("--kind", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.jobs = options.jobs or (3_000 if options.quick else 20_000)
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.folder = options.folder or tempfile.gettempdir()
    return options


if __name__ == "__main__":
    main()
