"""Measure planning: from a list file of a million lines to job specs. Objects per second, and peak memory.

Each list is planned in a process of its own. Its time is that of ``manifest`` and ``plan`` alone - reading, columns, templates, keys,
collisions - without the ledger; *parse only* reads the same lines with the standard library and makes nothing of them, as the ratio.
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

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # measures this tree, installed or not

from bench_table import memory_mb, show

MIN_PER_S = 20_000
MAX_MB = 200.0
KINDS = ("csv", "txt")


async def _plan(folder: Path) -> tuple[int, float]:
    """Plan everything; how many jobs, and when the first batch was there."""
    from orchestrator.manifest import load_manifest
    from orchestrator.manifest.planning.spec_stream import Feed

    begun = perf_counter()
    jobs, first_s = 0, 0.0
    async for specs in Feed(load_manifest(folder / "bench.yaml", {}), None).specs():
        first_s = first_s or perf_counter() - begun
        jobs += len(specs)
    return jobs, first_s


def planned(folder: Path) -> dict[str, Any]:
    """One measurement, in this process."""
    import orchestrator.commands.run  # noqa: F401 - imported before the clock runs

    before_mb = memory_mb()
    begun, cpu_begun = perf_counter(), process_time()
    jobs, first_s = asyncio.run(_plan(folder))
    took_s, cpu_s = perf_counter() - begun, process_time() - cpu_begun
    memory = {"before_mb": before_mb, "peak_mb": memory_mb("VmHWM")}
    return {"jobs": jobs, "took_s": took_s, "cpu_s": cpu_s, "first_s": first_s, **memory}


def parse_only_s(file: Path) -> float:
    """How long the standard library takes to read the lines."""
    begun = perf_counter()
    with file.open(encoding="utf-8", newline="") as lines:
        for _ in csv.reader(lines) if file.suffix == ".csv" else lines:
            pass
    return perf_counter() - begun


def measure(kind: str, lines: int) -> tuple[dict[str, Any], float]:
    """Write a list, and plan it in a process of its own."""
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
    """Measure all kinds of lists and compare."""
    options = parsed()
    if options.folder:
        print(json.dumps(planned(options.folder)))
        return
    seen = {kind: measure(kind, options.lines) for kind in KINDS}
    slowest = min(told["jobs"] / told["took_s"] for told, _ in seen.values())
    largest = max(told["peak_mb"] for told, _ in seen.values())
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
                f"{told['jobs'] / told['took_s']:,.0f}",
                f"{told['jobs'] / told['cpu_s']:,.0f}",
                f"{told['first_s']:.3f}",
                f"{parse_s / told['took_s']:.1%} of it",
                f"{told['before_mb']:.0f}",
                f"{told['peak_mb']:.0f}",
                f"{(told['peak_mb'] - told['before_mb']) * 2**20 / told['jobs']:.0f}",
            )
            for kind, (told, parse_s) in seen.items()
        ],
        [
            f"slowest: {slowest:,.0f}/s (budget: at least {MIN_PER_S:,}/s) - {'holds' if slowest >= MIN_PER_S else 'DOES NOT HOLD'}",
            f"largest: {largest:.0f} MB (budget: under {MAX_MB:.0f} MB) - {'holds' if largest < MAX_MB else 'DOES NOT HOLD'}",
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
