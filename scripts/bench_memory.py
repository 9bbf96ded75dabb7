"""Measure the memory of a run over a list of a million objects, and the time to its first POST.

The run is the installed runner in a process of its own, from the list file to the report. Every
line becomes a job in a ledger on disk, while jobs are submitted, tracked, verified and reported at
a bounded rate, so that all stages work all the time. (Submitting a million jobs would take hours at
a vendor's rate; growth, if there is any, comes with what is planned.) The stub takes every job and
calls it done when it is queried. Memory is read every second. *Growth* is the slope of a straight
line through all readings since 180,000 jobs were planned, when everything that has a bound has
reached it. The run is stopped when everything is planned.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # measures this tree, installed or not

from bench_stub import running_stub
from bench_table import memory_mb, show, within

from orchestrator.cli.interpreter import tune

if TYPE_CHECKING:
    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Clock

MAX_MB = 200.0
MAX_FIRST_S = 2.0
MAX_GROWTH = 32.0
"""Bytes per planned job that still count as flat; the job itself takes 500 bytes in the ledger."""
SAMPLE_S = 1.0
SETTLED = 180_000
"""Planned jobs after which bounded parts are full: the ledger's cache, the claims in memory."""


@dataclass(slots=True)
class Watch:
    """A sink that counts the jobs that are planned, accepted and ended."""

    planned: int = 0
    accepted: int = 0
    ended: int = 0

    def emit(self, event: Event) -> None:
        """Take one event."""
        from orchestrator.domain.events import JobAccepted, JobEnded, JobsPlanned

        if isinstance(event, JobEnded):
            self.ended += 1
        elif isinstance(event, JobAccepted):
            self.accepted += 1
        elif isinstance(event, JobsPlanned):
            self.planned += event.new + event.open + event.done + event.ended


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading: MB resident, and of those the program's own (the rest is mapped and shared)."""

    at_s: float
    planned: int
    accepted: int
    ended: int
    mb: float
    own_mb: float


def _taken(begun: float, watch: Watch) -> Sample:
    return Sample(
        perf_counter() - begun,
        watch.planned,
        watch.accepted,
        watch.ended,
        memory_mb(),
        memory_mb("RssAnon"),
    )


async def _sample(begun: float, watch: Watch, clock: Clock, samples: list[Sample]) -> None:
    while True:
        samples.append(_taken(begun, watch))
        await clock.sleep(SAMPLE_S)


async def _run(options: argparse.Namespace, begun: float) -> list[Sample]:
    from orchestrator.commands.options import RunOptions
    from orchestrator.commands.run import open_session
    from orchestrator.domain.clock import SystemClock
    from orchestrator.errors import Interruption
    from orchestrator.manifest import load_manifest

    manifest = load_manifest(options.folder / "bench.yaml", {})
    watch, clock = Watch(), SystemClock()
    samples: list[Sample] = []
    async with open_session(
        manifest, RunOptions(deadline_s=options.seconds), sink=watch, clock=clock
    ) as session:

        async def until_planned() -> None:
            while watch.planned < options.lines:
                await clock.sleep(0.2)
            session.stop(Interruption("deadline", "the benchmark has seen enough"))

        tasks = [
            asyncio.create_task(_sample(begun, watch, clock, samples)),
            asyncio.create_task(until_planned()),
        ]
        await session.run()
        samples.append(_taken(begun, watch))
        for task in tasks:
            task.cancel()
    return samples


def measured(options: argparse.Namespace) -> None:
    """The run, in this process."""
    from orchestrator.cli.interpreter import loop_factory

    begun = perf_counter()
    tune()  # as the command does
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        samples = runner.run(_run(options, begun))
    print(
        json.dumps(
            {"samples": [_as_list(sample) for sample in samples], "peak_mb": memory_mb("VmHWM")}
        )
    )


def _as_list(sample: Sample) -> list[float]:
    return [sample.at_s, sample.planned, sample.accepted, sample.ended, sample.mb, sample.own_mb]


def start(options: argparse.Namespace) -> tuple[list[Sample], float, float | None]:
    """Write the list and run over it; return readings, peak, and time to the first POST."""
    from bench_runner import KEYS, write_list

    environment = {
        **os.environ,
        "TENCENTCLOUD_SECRET_ID": KEYS.secret_id,
        "TENCENTCLOUD_SECRET_KEY": KEYS.secret_key,
    }
    with running_stub() as stub, tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_list(Path(folder), options.lines)
        manifest = Path(folder) / "bench.yaml"
        text = manifest.read_text(encoding="utf-8").replace(
            "service: tencent", f"service: {{ci: '{stub.url}', cos: '{stub.url}'}}"
        )
        manifest.write_text(f"{text}limits: {{submit_per_s: {options.rate}}}\n", encoding="utf-8")
        stub.reset(finish=True)
        begun = perf_counter()  # CLOCK_MONOTONIC: the stub's readings are on the same scale
        arguments = [
            f"--folder={folder}",
            f"--seconds={options.seconds}",
            f"--lines={options.lines}",
        ]
        command = [sys.executable, __file__, "--measure", *arguments]
        printed: dict[str, Any] = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
        )
        first_at = stub.stats()["first_at"]
    samples = [
        Sample(at_s, int(planned), int(accepted), int(ended), mb, own)
        for at_s, planned, accepted, ended, mb, own in printed["samples"]
    ]
    return samples, printed["peak_mb"], None if first_at is None else first_at - begun


def main() -> None:
    """Measure, and show memory over the run."""
    options = parsed()
    if options.measure:
        measured(options)
        return
    samples, peak_mb, first_s = start(options)
    step = max(1, len(samples) // 12)
    shown = samples[::step] if samples[-1] in samples[::step] else [*samples[::step], samples[-1]]
    show(
        f"memory: a run over {options.lines:,} objects, {options.rate:g} jobs submitted per second",
        ("second", "planned", "accepted", "ended", "MB", "own MB"),
        [
            (
                f"{one.at_s:.0f}",
                f"{one.planned:,}",
                f"{one.accepted:,}",
                f"{one.ended:,}",
                f"{one.mb:.0f}",
                f"{one.own_mb:.0f}",
            )
            for one in shown
        ],
        [
            *_growth(samples),
            within("peak", peak_mb, MAX_MB, "MB"),
            within(
                "first POST after start",
                first_s if first_s is not None else float("inf"),
                MAX_FIRST_S,
                "s",
            ),
        ],
    )


def _growth(samples: list[Sample]) -> list[str]:
    """Return the growth of memory with the planned jobs, and the memory for a whole million."""
    settled = [sample for sample in samples if sample.planned >= SETTLED]
    if len({sample.planned for sample in settled}) < 5:
        return [f"growth: unknown; give it more lines (bounds are reached at {SETTLED:,})"]
    slope, _ = linear_regression(
        [sample.planned for sample in settled], [sample.mb * 2**20 for sample in settled]
    )
    last = settled[-1]
    ahead = max(0, 1_000_000 - last.planned)
    notes = [within("growth per planned job", slope, MAX_GROWTH, "bytes")]
    return (
        [*notes, f"at a million: {last.mb + slope * ahead / 2**20:.0f} MB (extrapolated)"]
        if ahead
        else notes
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench memory", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="300,000 lines")
    parser.add_argument(
        "--lines", type=int, help="objects in the list (default 1000000, quick 300000)"
    )
    parser.add_argument(
        "--rate", type=float, default=100.0, help="jobs submitted per second (default 100)"
    )
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="stop after this time (default 600)"
    )
    parser.add_argument(
        "--folder", help="where list and ledger go (default: the temporary folder)", type=Path
    )
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.lines = options.lines or (300_000 if options.quick else 1_000_000)
    return options


if __name__ == "__main__":
    main()
