"""Measure planning, from a list file of a million lines to job specs: speed and peak memory.

Each list is planned in a separate process. The time covers reading, columns, templates, keys and
collisions, without the ledger. *Parse only* is the share of the time in which the standard library
reads the same lines.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

# Measures this tree, installed or not.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench_table import memory_mb, show

MIN_PER_S = 20_000
MAX_MB = 200.0
KINDS = ("csv", "txt")


async def _plan(folder: Path) -> tuple[int, float]:
    """Plan all lines; return the number of jobs and the seconds until the first batch."""
    from orchestrator.manifest import load_manifest
    from orchestrator.manifest.planning.spec_stream import Feed

    begun = perf_counter()
    jobs, first_s = 0, 0.0
    async for specs in Feed(load_manifest(folder / "bench.yaml", {}), None).specs():
        first_s = first_s or perf_counter() - begun
        jobs += len(specs)
    return jobs, first_s


def planned(folder: Path) -> dict[str, Any]:
    """Return one measurement, made in this process."""
    import orchestrator.commands.run  # noqa: F401 - imported before the clock runs

    before_mb = memory_mb()
    begun, cpu_begun = perf_counter(), process_time()
    jobs, first_s = asyncio.run(_plan(folder))
    took_s, cpu_s = perf_counter() - begun, process_time() - cpu_begun
    memory = {"before_mb": before_mb, "peak_mb": memory_mb("VmHWM")}
    return {"jobs": jobs, "took_s": took_s, "cpu_s": cpu_s, "first_s": first_s, **memory}


def parse_only_s(file: Path) -> float:
    """Return the time in seconds that the standard library takes to read the lines."""
    begun = perf_counter()
    with file.open(encoding="utf-8", newline="") as lines:
        for _ in csv.reader(lines) if file.suffix == ".csv" else lines:
            pass
    return perf_counter() - begun


def measure(kind: str, lines: int) -> tuple[dict[str, Any], float]:
    """Write a list and plan it in a separate process."""
    from bench_runner import write_list

    with tempfile.TemporaryDirectory() as folder:
        write_list(Path(folder), lines, kind)
        printed = subprocess.run(
            [sys.executable, __file__, f"--folder={folder}"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout
        return json.loads(printed), parse_only_s(Path(folder) / f"library.{kind}")


def main() -> None:
    """Measure both kinds of lists and print the table."""
    options = parsed()
    if options.folder:
        print(json.dumps(planned(options.folder)))
        return
    measured = {kind: measure(kind, options.lines) for kind in KINDS}
    slowest = min(seen["jobs"] / seen["took_s"] for seen, _ in measured.values())
    largest = max(seen["peak_mb"] for seen, _ in measured.values())
    is_fast = "holds" if slowest >= MIN_PER_S else "DOES NOT HOLD"
    is_small = "holds" if largest < MAX_MB else "DOES NOT HOLD"
    show(
        f"plan: a list of {options.lines:,} objects",
        (
            "list",
            "objects/s",
            "per CPU s",
            "first batch s",
            "parse only",
            "MB before",
            "peak MB",
            "bytes/object",
        ),
        [
            (
                kind,
                f"{seen['jobs'] / seen['took_s']:,.0f}",
                f"{seen['jobs'] / seen['cpu_s']:,.0f}",
                f"{seen['first_s']:.3f}",
                f"{parse_s / seen['took_s']:.1%} of it",
                f"{seen['before_mb']:.0f}",
                f"{seen['peak_mb']:.0f}",
                f"{(seen['peak_mb'] - seen['before_mb']) * 2**20 / seen['jobs']:.0f}",
            )
            for kind, (seen, parse_s) in measured.items()
        ],
        [
            f"slowest: {slowest:,.0f}/s (budget: at least {MIN_PER_S:,}/s) - {is_fast}",
            f"largest: {largest:.0f} MB (budget: under {MAX_MB:.0f} MB) - {is_small}",
        ],
    )


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench plan", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="30,000 lines")
    parser.add_argument(
        "--lines", type=int, help="objects in each list (default 1000000, quick 30000)"
    )
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.lines = options.lines or (30_000 if options.quick else 1_000_000)
    return options


if __name__ == "__main__":
    main()
