"""Measure starting again on a ledger of a million finished jobs, to the first POST and to the end.

The ledger is written with the report of its run (``bench_ledgers``). Then the same manifest is run
again in two ways. *done*: the run had ended, so a new one begins and finds everything done.
*killed*: the process was gone before that, so the run is resumed, with its report. Both have one
new object in front of the list: the run is at work when its POST reaches the stub. *killed* ends
there. *done* continues to one new object behind the list, after all finished jobs have been skipped
and reported. Pieces are the times that the run waited for each part; they overlap where it does
several things at once.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # measures this tree, installed or not

import bench_ledgers
from bench_stub import running_stub
from bench_table import memory_mb, show, within

from orchestrator.cli.interpreter import tune

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.spec import JobSpec

MAX_S = 3.0


# --- starting again


class Timed:
    """A ledger that notes how long its callers wait for each method."""

    def __init__(self, ledger: Ledger, waited: dict[str, float]) -> None:
        self._ledger = ledger
        self._waited = waited

    def __getattr__(self, name: str) -> Any:
        """The method of that name, timed."""
        method = getattr(self._ledger, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def timed(*given: Any, **named: Any) -> Any:
            with stopwatch(self._waited, f"ledger.{name}"):
                return await method(*given, **named)

        return timed


@contextmanager
def stopwatch(waited: dict[str, float], name: str) -> Iterator[None]:
    """Add the time of a block to ``waited``."""
    begun = perf_counter()
    try:
        yield
    finally:
        waited[name] += perf_counter() - begun


async def timed_feed(
    feed: AsyncGenerator[list[JobSpec]], waited: dict[str, float]
) -> AsyncGenerator[list[JobSpec]]:
    """The same batches; the waiting for them is noted."""
    while True:
        with stopwatch(waited, "planning"):
            specs = await anext(feed, None)
        if specs is None:
            return
        yield specs


async def start_again(
    url: str, ledger: Path, waited: dict[str, float], stop_after: int = 0
) -> dict[str, Any]:
    """Run the manifest above the ledger's folder; stop after ``stop_after`` jobs, unless 0."""
    import bench_runner

    from orchestrator.domain.states import JobState
    from orchestrator.manifest import load_manifest
    from orchestrator.manifest.planning.spec_stream import Feed
    from orchestrator.reporting import report_file
    from orchestrator.runner.settings import RunnerSettings

    with stopwatch(waited, "load manifest"):
        manifest = load_manifest(ledger.parent.parent / "bench.yaml", {})
    opening = report_file.ReportFile.open

    async def timed_open(self: report_file.ReportFile) -> None:
        with stopwatch(waited, "report.open"):
            await opening(self)

    report_file.ReportFile.open = timed_open  # type: ignore[method-assign]  # to see inside the real one
    begun = perf_counter()

    def through(ledger: Ledger) -> Any:
        return Timed(ledger, waited)

    sink, settings = bench_runner.Count(stop_after), RunnerSettings()
    async with bench_runner.runner(url, ledger, sink, settings, seen_through=through) as runner:
        waited["open ledger"] = perf_counter() - begun
        result = await runner.run(timed_feed(Feed(manifest, None).specs(), waited))
    counts = result.counts
    return {
        "skipped": counts.skipped,
        "done": counts.skipped + counts.of(JobState.SUCCEEDED),
        "complete": result.is_complete,
    }


def measured(url: str, ledger: Path, stop_after: int) -> None:
    """Start again in this process, and print the pieces."""
    waited: dict[str, float] = defaultdict(float)
    with stopwatch(waited, "imports"):
        from orchestrator.cli.interpreter import loop_factory

    tune()  # as the command does
    with stopwatch(waited, "the run"), asyncio.Runner(loop_factory=loop_factory()) as runner:
        figures = runner.run(start_again(url, ledger, waited, stop_after))
    print(json.dumps({"pieces": waited, "peak_mb": memory_mb("VmHWM"), **figures}))


def measure(ledger: Path, posts: int, *, is_whole: bool) -> dict[str, Any]:
    """Start again in a process of its own until ``posts`` jobs were sent; return the figures."""
    with running_stub() as stub:
        stub.reset(finish=True)
        begun = perf_counter()  # CLOCK_MONOTONIC: the stub's readings are on the same scale
        command = [
            sys.executable,
            __file__,
            f"--url={stub.url}",
            f"--ledger={ledger}",
            f"--stop-after={0 if is_whole else posts}",
        ]
        figures: dict[str, Any] = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        )
        stats = stub.stats()
    if stats["posts"] != posts or figures["complete"] != is_whole:
        raise SystemExit(f"the run sent {stats['posts']} jobs instead of {posts}: {figures}")
    return figures | {
        "first_s": stats["first_at"] - begun,
        "last_s": stats["first_at"] + stats["span_s"] - begun,
    }


def measure_both(options: argparse.Namespace) -> tuple[dict[str, dict[str, Any]], float]:
    """Make the ledgers and start again on each; return the figures, and the time of the making."""
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder, begun = Path(name).resolve(), perf_counter()
        subprocess.run(
            [sys.executable, __file__, f"--make={folder}", f"--jobs={options.jobs}"], check=True
        )
        made_s = perf_counter() - begun
        bench_ledgers.add_new_objects(folder)
        done, killed = (
            folder / kind / bench_ledgers.LEDGER
            for kind in (bench_ledgers.DONE, bench_ledgers.KILLED)
        )
        seen = {
            "killed": measure(killed, 1, is_whole=False),
            "done": measure(done, 2, is_whole=True),
        }
    if (
        seen["done"]["done"] != options.jobs + 4
    ):  # and the known and the new one in front and behind
        raise SystemExit(f"the run did not find every job done: {seen['done']}")
    return seen, made_s


def main() -> None:
    """Measure both ways to start again."""
    options = parsed()
    if options.make:
        bench_ledgers.make_and_die(options.make, options.jobs)
    if options.url:
        measured(options.url, options.ledger, options.stop_after)
        return
    seen, made_s = measure_both(options)
    pieces = sorted(
        {name for figures in seen.values() for name in figures["pieces"]},
        key=lambda name: -seen["done"]["pieces"].get(name, 0.0),
    )
    rows = [("first new POST", *(f"{figures['first_s']:.2f}" for figures in seen.values()))]
    rows += [("POST behind all finished jobs", "-", f"{seen['done']['last_s']:.1f}")]
    rows += [
        (f"- {name}", *(f"{figures['pieces'].get(name, 0.0):.2f}" for figures in seen.values()))
        for name in pieces
    ]
    rows += [("peak MB", *(f"{figures['peak_mb']:.0f}" for figures in seen.values()))]
    show(
        f"resume: start again on a ledger of {options.jobs:,} finished jobs (seconds)",
        ("", *seen),
        rows,
        [
            *(
                within(f"at work again, {kind}", figures["first_s"], MAX_S, "s")
                for kind, figures in seen.items()
            ),
            f"skipped: {options.jobs / seen['done']['last_s']:,.0f} finished jobs/s, all reported",
            f"(the ledgers were made in {made_s:.0f} s)",
        ],
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench resume", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="20,000 jobs")
    parser.add_argument("--jobs", type=int, help="finished jobs (default 1000000, quick 20000)")
    parser.add_argument(
        "--folder", type=Path, help="where list and ledger go (default: the temporary folder)"
    )
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--ledger", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--stop-after", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.jobs = options.jobs or (20_000 if options.quick else 1_000_000)
    return options


if __name__ == "__main__":
    main()
