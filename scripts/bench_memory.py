"""Measure the memory of a run over a list of a million objects, and how soon its first POST leaves.

The run is the installed engine in a process of its own, from the list file to the report; the stub takes every job and calls it done when
it is first asked for, so that all stages work. Memory is read every second; *growth* is that of the second half of the time, when the
ledger's cache is full and every stage has its usual load, by jobs planned meanwhile. With ``--seconds`` the run is stopped after that time,
else when everything is planned.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # measures this tree, installed or not

from bench_stub import pin, running_stub
from bench_table import memory_mb, show, within

from orchestrator.cli.process import tune

if TYPE_CHECKING:
    from orchestrator.events import Event
    from orchestrator.ports import Clock

MAX_MB = 200.0
MAX_FIRST_S = 2.0
SAMPLE_S = 1.0


@dataclass(slots=True)
class Watch:
    """A sink that counts the jobs that are planned, accepted and ended."""

    planned: int = 0
    accepted: int = 0
    ended: int = 0

    def emit(self, event: Event) -> None:
        """Take one event."""
        from orchestrator.events import JobAccepted, JobEnded, JobsPlanned

        if isinstance(event, JobEnded):
            self.ended += 1
        elif isinstance(event, JobAccepted):
            self.accepted += 1
        elif isinstance(event, JobsPlanned):
            self.planned += event.new + event.open + event.done + event.ended


async def _sample(watch: Watch, clock: Clock, samples: list[tuple[float, Watch, float]]) -> None:
    begun = perf_counter()
    while True:
        samples.append((perf_counter() - begun, replace(watch), memory_mb()))
        await clock.sleep(SAMPLE_S)


async def _run(url: str, folder: Path, seconds: float) -> list[tuple[float, Watch, float]]:
    from orchestrator.clock import SystemClock
    from orchestrator.errors import Interruption
    from orchestrator.manifest import load_manifest
    from orchestrator.session import RunOptions, open_session

    text = (folder / "bench.yaml").read_text().replace("service: tencent", f"service: {{ci: '{url}', cos: '{url}'}}")
    (folder / "bench.yaml").write_text(text + "limits: {submit_per_s: 5000, query_per_s: 1000, in_flight: 2000}\n")
    manifest = load_manifest(folder / "bench.yaml", {})
    watch, clock = Watch(), SystemClock()
    samples: list[tuple[float, Watch, float]] = []
    async with open_session(manifest, RunOptions(deadline_s=seconds), sink=watch, clock=clock) as session:

        async def until_planned() -> None:
            while watch.planned < int((folder / "lines").read_text()):
                await clock.sleep(0.2)
            session.engine.stop(Interruption("deadline", "the benchmark has seen enough"))

        tasks = [asyncio.create_task(_sample(watch, clock, samples)), asyncio.create_task(until_planned())]
        await session.run()
        samples.append((samples[-1][0] + SAMPLE_S, replace(watch), memory_mb()))
        for task in tasks:
            task.cancel()
    return samples


def measured(options: argparse.Namespace) -> None:
    """The run, in this process."""
    from orchestrator.cli.run import _loop_factory

    pin(0)
    tune()  # as the command does
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        samples = runner.run(_run(options.url, options.folder, options.seconds))
    rows = [(at_s, watch.planned, watch.accepted, watch.ended, mb) for at_s, watch, mb in samples]
    print(json.dumps({"samples": rows, "peak_mb": memory_mb("VmHWM")}))


def start(options: argparse.Namespace) -> tuple[dict[str, Any], float | None]:
    """Write the list, run over it, and say when the first POST was there, in seconds after the start of the process."""
    import os

    from bench_engine import KEYS, write_list

    environment = {**os.environ, "TENCENTCLOUD_SECRET_ID": KEYS.secret_id, "TENCENTCLOUD_SECRET_KEY": KEYS.secret_key}
    with running_stub() as stub, tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_list(Path(folder), options.lines)
        (Path(folder) / "lines").write_text(str(options.lines))
        stub.reset(finish=True)
        begun = perf_counter()  # CLOCK_MONOTONIC: the stub's readings are on the same scale
        told = [f"--url={stub.url}", f"--folder={folder}", f"--seconds={options.seconds}"]
        command = [sys.executable, __file__, "--measure", *told]
        printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
        first_at = stub.stats()["first_at"]
        return json.loads(printed), None if first_at is None else first_at - begun


def main() -> None:
    """Measure, and show memory over the run."""
    options = parsed()
    if options.measure:
        measured(options)
        return
    told, first_s = start(options)
    samples = told["samples"]
    step = max(1, len(samples) // 12)
    shown = samples[::step] if samples[-1] in samples[::step] else [*samples[::step], samples[-1]]
    show(
        f"memory: a run over a list of {options.lines:,} objects",
        ("second", "planned", "accepted", "ended", "MB"),
        [(f"{at_s:.0f}", f"{planned:,}", f"{accepted:,}", f"{ended:,}", f"{mb:.0f}") for at_s, planned, accepted, ended, mb in shown],
        [
            *_growth(samples),
            within("peak", told["peak_mb"], MAX_MB, "MB"),
            within("first POST after start", first_s if first_s is not None else float("inf"), MAX_FIRST_S, "s"),
        ],
    )


def _growth(samples: list[list[float]]) -> list[str]:
    """How memory grows with the jobs that are planned, in the second half of the time."""
    planned = [sample for sample in samples if sample[1] > 0]
    early, late = planned[len(planned) // 2], planned[-1]
    if late[1] <= early[1]:
        return []
    per_job = (late[4] - early[4]) * 2**20 / (late[1] - early[1])
    at_million = late[4] + per_job * max(0, 1_000_000 - late[1]) / 2**20
    return [f"growth: {per_job:.0f} bytes per planned job; {at_million:.0f} MB at a million (extrapolated)"]


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench memory", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="30,000 lines")
    parser.add_argument("--lines", type=int, help="objects in the list (default 1000000, quick 30000)")
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after this time (default 600)")
    parser.add_argument("--folder", help="where list and ledger go (default: the temporary folder)", type=Path)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.lines = options.lines or (30_000 if options.quick else 1_000_000)
    return options


if __name__ == "__main__":
    main()
