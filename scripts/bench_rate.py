"""Measure the rate of a real run at the service: the mean, and the most POSTs in any second.

The mean runs from the first to the last POST, so it excludes the start of the program. The most in
one second is the maximum over all seconds that begin with a POST. Both count the arrival of a POST
at the service's machine (see ``bench_arrivals``). The table also shows how many the service's
program read in a second, and how late it was: on a busy machine they show the measurement error.

With ``--processes 2`` two processes share each limit. Then the mean is that of the whole seconds
from the third after the first POST to the last but one: their starts and ends are not simultaneous,
and a new shared file holds the second one up.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # measures this tree, installed or not

import bench_arrivals
import bench_runner
from bench_stub import pin, running_stub
from bench_table import show

from orchestrator.cli.interpreter import loop_factory, tune
from orchestrator.client.limits.shared_limit import STATE_VARIABLE
from orchestrator.domain.wording import counted

if TYPE_CHECKING:
    from bench_stub import Stub

MIN_SHARE, MAX_SHARE = 0.99, 1.0
MIN_SHARE_TOGETHER = 0.98
RATES = (10, 100, 1000)


@dataclass(frozen=True, slots=True)
class Seen:
    """Measurement of one rate, as seen by the stub."""

    rate: int
    posts: int
    mean_per_s: float
    most_in_1s: int
    most_read_in_1s: int
    late_s: float
    least: float

    @property
    def holds(self) -> bool:
        """True for 99 to 100 % of the limit, and never more in any second."""
        return (
            self.least <= self.mean_per_s / self.rate <= MAX_SHARE and self.most_in_1s <= self.rate
        )


async def submit_for(
    url: str, folder: Path, rate: int, duration_s: float, connections: int
) -> None:
    """Run until the deadline, with more jobs than the rate allows."""
    jobs = int(rate * duration_s * 1.5) + 10
    specs = [bench_runner.spec(number) for number in range(jobs)]
    settings = bench_runner.submit_only(jobs, connections)
    sink = bench_runner.Count()
    async with bench_runner.runner(
        url,
        folder / f"{rate}.db",
        sink,
        settings,
        rates=replace(bench_runner.NO_QUERIES, submits_per_s=float(rate)),
        deadline_s=duration_s,
    ) as runner:
        await runner.run(bench_runner.feed(specs))


def work(url: str, folder: Path, rate: int, options: argparse.Namespace) -> None:
    """Submit in this process."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(submit_for(url, folder, rate, options.seconds, options.connections))


def work_together(url: str, folder: Path, rate: int, options: argparse.Namespace) -> None:
    """Submit in several processes at the same time."""
    processes = []
    for number in range(options.processes):
        own = folder / f"process-{number}"
        own.mkdir(exist_ok=True)
        command = [sys.executable, __file__, "--worker", url, str(own), "--rates", str(rate)]
        command += ["--seconds", str(options.seconds), "--connections", str(options.connections)]
        processes.append(subprocess.Popen(command))
    if max(process.wait() for process in processes):
        raise SystemExit("a process of the benchmark failed")


def measure(stub: Stub, folder: Path, rate: int, options: argparse.Namespace) -> Seen:
    """Measure one rate."""
    stub.reset()
    together = options.processes > 1
    (work_together if together else work)(stub.url, folder, rate, options)
    stats = stub.stats()
    # The first POST opens the span, and what follows fills it.
    mean_per_s = (stats["posts"] - 1) / stats["span_s"]
    if together:
        begin, seconds = stats["came"][0] + 2.0, int(stats["span_s"]) - 3
        mean_per_s = sum(0 <= at - begin < seconds for at in stats["came"]) / seconds
    return Seen(
        rate,
        stats["posts"],
        mean_per_s,
        stats["most_in_1s"],
        stats["most_read_in_1s"],
        stats["late_s"],
        MIN_SHARE_TOGETHER if together else MIN_SHARE,
    )


def main() -> None:
    """Measure all rates and compare."""
    options = parsed()
    tune()  # as the command does
    if options.worker:
        pin(0)
        work(options.worker[0], Path(options.worker[1]), options.rates[0], options)
        return
    with running_stub(bench_arrivals.__file__) as stub, tempfile.TemporaryDirectory() as folder:
        os.environ[STATE_VARIABLE] = folder  # with the limits that are shared
        pin(0)  # after the stub has seen all cores: it takes the last of those that are left to it
        rates = [measure(stub, Path(folder), rate, options) for rate in options.rates]
    verdict = "holds" if all(one.holds for one in rates) else "DOES NOT HOLD"
    show(
        f"rate: {counted(options.processes, 'run')} for {options.seconds:g} s at each limit, as the"
        " service sees it",
        (
            "limit/s",
            "POSTs",
            "mean/s",
            "of the limit",
            "most in any 1 s",
            "most read in 1 s",
            "read late by",
            "",
        ),
        [_row(one) for one in rates],
        [f"budget: mean {rates[0].least:.0%}-100 %, never above the limit in any 1 s - {verdict}"],
    )


def _row(one: Seen) -> tuple[object, ...]:
    share = f"{one.mean_per_s / one.rate:.2%}"
    late = f"{one.late_s * 1e3:.1f} ms"
    return (
        one.rate,
        one.posts,
        f"{one.mean_per_s:,.2f}",
        share,
        one.most_in_1s,
        one.most_read_in_1s,
        late,
        "" if one.holds else "!",
    )


def parsed() -> argparse.Namespace:
    """Return the parsed command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench rate", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--quick", action="store_true", help="2 seconds for each rate, 8 with several processes"
    )
    parser.add_argument("--seconds", type=float, help="time for each rate (default 12, quick 2)")
    parser.add_argument(
        "--rates",
        type=int,
        nargs="+",
        default=RATES,
        metavar="N",
        help="limits per second (default 10 100 1000)",
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="runs that share each limit (default 1)"
    )
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--connections", type=int, default=64, help="connections (default 64)")
    options = parser.parse_args()
    quick_s = 2.0 if options.processes == 1 else 8.0
    options.seconds = options.seconds or (quick_s if options.quick else 12.0)
    return options


if __name__ == "__main__":
    main()
