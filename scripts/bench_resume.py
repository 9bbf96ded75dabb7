"""Measure how long it takes to start again on a ledger of a million finished jobs: to the first new POST, and to the end, piece by piece.

The ledger is made through its port, with the report of its run. Then the same manifest is run again, twice over: *done*, when the run had
ended, so that a new one begins and finds everything done; and *killed*, when the run was still open, so that it goes on, with its report.
Both times the list has one new object in front (the run is at work when its POST is at the stub) and one behind (the last line is reached).
Pieces are the times that the run waited for each part; they overlap where the run does several things at once.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # measures this tree, installed or not

from bench_stub import pin, running_stub
from bench_table import memory_mb, show, within

from orchestrator.cli.process import tune

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from orchestrator.model import Job, JobSpec
    from orchestrator.ports import Ledger

MAX_S = 3.0
NEW = ("new/first.mp3", "new/last.mp3")
BATCH = 5_000


# --- making the ledger -------------------------------------------------------------------------------------------------------


async def make(folder: Path, jobs: int, *, leave_open: bool) -> None:
    """A ledger in which every object of the list is done; the run is ended, or left as if its process had been killed."""
    from bench_engine import write_list

    from orchestrator.clock import SystemClock
    from orchestrator.feed import Feed
    from orchestrator.ledger import open_ledger
    from orchestrator.model import Holder
    from orchestrator.report import ReportFile

    manifest, clock = write_list(folder, jobs), SystemClock()
    ledger = open_ledger(folder / "bench.db")
    await ledger.acquire(Holder("bench", os.getpid(), clock.now()))
    await ledger.remember("service", b"tencent")
    run = await ledger.begin_run("bench", clock.now(), str(folder / "{run}.jsonl"))
    waiting: list[JobSpec] = []
    async for specs in Feed(manifest, None).specs():
        waiting += specs
        if len(waiting) >= BATCH:
            await _finish(ledger, await ledger.add(run, waiting), clock.now())
            waiting = []
    if waiting:
        await _finish(ledger, await ledger.add(run, waiting), clock.now())
    if leave_open:
        report = ReportFile(Path(run.report), run, ledger)
        await report.open()
        report.close()
    else:
        await ledger.end_run(run, clock.now())
    await ledger.close()


async def _finish(ledger: Ledger, jobs: list[Job], now: float) -> None:
    """Record jobs as done, with all that a done job has."""
    from orchestrator.model import StemFile
    from orchestrator.states import Step

    for job in jobs:
        for step in (Step.SEND, Step.ACCEPT, Step.START, Step.SUCCEED):
            job.step(step)
        job.attempts, job.job_id, job.queue_id, job.request_id = 1, f"j{job.id:032x}", "p" + "0" * 32, "NjJmMzI5MmRfOTBm"
        job.intent_at = job.submitted_at = job.started_at = job.finished_at = now
        job.media_duration_s = 13.688163
        names = job.spec.output.names().items()
        job.files = tuple(StemFile(stem, name, f"{job.id:032x}", 219_263, verified=True) for stem, name in names)
    await ledger.save(jobs)


def add_new_objects(folder: Path) -> None:
    """Put one new object before the others, and one behind them."""
    manifest = folder / "bench.yaml"
    first, last = (f"  - object: {name}\n" for name in NEW)
    text = manifest.read_text()
    manifest.write_text(text.replace("inputs:\n", "inputs:\n" + first).replace("report: ", last + "report: "))


# --- starting again ----------------------------------------------------------------------------------------------------------


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


async def timed_feed(feed: AsyncGenerator[list[JobSpec]], waited: dict[str, float]) -> AsyncGenerator[list[JobSpec]]:
    """The same batches; the waiting for them is noted."""
    while True:
        with stopwatch(waited, "planning"):
            specs = await anext(feed, None)
        if specs is None:
            return
        yield specs


async def start_again(url: str, folder: Path, waited: dict[str, float]) -> dict[str, Any]:
    """Run the manifest on the finished ledger."""
    import bench_engine

    from orchestrator import report
    from orchestrator.feed import Feed
    from orchestrator.manifest import load_manifest
    from orchestrator.settings import EngineSettings

    with stopwatch(waited, "load manifest"):
        manifest = load_manifest(folder / "bench.yaml", {})
    opening = report.ReportFile.open

    async def timed_open(self: report.ReportFile) -> None:
        with stopwatch(waited, "report.open"):
            await opening(self)

    report.ReportFile.open = timed_open  # type: ignore[method-assign]  # to see inside the real one
    begun = perf_counter()

    def through(ledger: Ledger) -> Any:
        return Timed(ledger, waited)

    sink, settings = bench_engine.Count(), EngineSettings()
    async with bench_engine.engine(url, folder / "bench.db", sink, settings, seen_through=through) as engine:
        waited["open ledger"] = perf_counter() - begun
        result = await engine.run(timed_feed(Feed(manifest, None).specs(), waited))
    return {"total": result.counts.total, "skipped": result.counts.skipped, "complete": result.is_complete}


def measured(url: str, folder: Path) -> None:
    """Start again, in this process; prints the pieces."""
    waited: dict[str, float] = defaultdict(float)
    with stopwatch(waited, "imports"):
        import orchestrator.ledger.sqlite
        import orchestrator.session  # noqa: F401 - only its time is wanted
        from orchestrator.cli.run import _loop_factory

    pin(0)
    tune()  # as the command does
    with stopwatch(waited, "the run"), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        told = runner.run(start_again(url, folder, waited))
    print(json.dumps({"pieces": waited, "peak_mb": memory_mb("VmHWM"), **told}))


def measure(options: argparse.Namespace, *, leave_open: bool) -> dict[str, Any]:
    """Make a ledger, start again on it in a process of its own, and say what was seen."""
    with running_stub() as stub, tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        begun = perf_counter()
        asyncio.run(make(folder, options.jobs, leave_open=leave_open))
        made_s = perf_counter() - begun
        add_new_objects(folder)
        stub.reset(finish=True)
        begun = perf_counter()  # CLOCK_MONOTONIC: the stub's readings are on the same scale
        command = [sys.executable, __file__, f"--url={stub.url}", f"--folder={folder}"]
        told: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        told["whole_s"] = perf_counter() - begun
        stats = stub.stats()
    if stats["posts"] != len(NEW) or not told["complete"]:
        raise SystemExit(f"the run sent {stats['posts']} jobs instead of {len(NEW)}: {told}")
    return told | {"made_s": made_s, "first_s": stats["first_at"] - begun, "last_s": stats["first_at"] + stats["span_s"] - begun}


def main() -> None:
    """Measure both ways to start again."""
    options = parsed()
    if options.url:
        measured(options.url, options.folder)
        return
    seen = {kind: measure(options, leave_open=kind == "killed") for kind in ("done", "killed")}
    pieces = sorted({name for told in seen.values() for name in told["pieces"]}, key=lambda name: -seen["done"]["pieces"].get(name, 0.0))
    times = [
        ("first new POST", "first_s"),
        ("POST of the last line", "last_s"),
        ("whole process, the new jobs followed", "whole_s"),
        ("(making the ledger)", "made_s"),
    ]
    rows = [(label, *(f"{told[name]:.2f}" for told in seen.values())) for label, name in times]
    rows += [(f"- {name}", *(f"{told['pieces'].get(name, 0.0):.2f}" for told in seen.values())) for name in pieces]
    rows += [("peak MB", *(f"{told['peak_mb']:.0f}" for told in seen.values()))]
    show(
        f"resume: start again on a ledger of {options.jobs:,} finished jobs (seconds)",
        ("", "done", "killed"),
        rows,
        [within(f"at work again, {kind}", told["first_s"], MAX_S, "s") for kind, told in seen.items()],
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench resume", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20,000 jobs")
    parser.add_argument("--jobs", type=int, help="finished jobs (default 1000000, quick 20000)")
    parser.add_argument("--folder", type=Path, help="where list and ledger go (default: the temporary folder)")
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.jobs = options.jobs or (20_000 if options.quick else 1_000_000)
    return options


if __name__ == "__main__":
    main()
