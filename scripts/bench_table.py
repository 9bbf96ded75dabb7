"""The output of all benchmarks: a small table, the machine, the budget, and the verdict."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def machine() -> str:
    """Describe the machine in a line, for the foot of a table."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip()
            for line in info.read_text().splitlines()
            if line.startswith("model name")
        ]
        name = names[0] if names else name
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    system = f"{platform.system()}, Python {platform.python_version()}"
    return f"{os.cpu_count()} cores ({name}), {system}, load {load:.1f}"


def show(
    title: str, head: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()
) -> None:
    """Print a table, the first column flush left, the others right; then notes and machine."""
    lines = [[str(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    print(f"\n{title}")
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        print("  " + "  ".join(cells).rstrip())
    for note in (*notes, machine()):
        print(f"  {note}")
    sys.stdout.flush()


def judged(what: str, ratio: float, least: float) -> str:
    """Return the verdict on a ratio with a lower bound."""
    verdict = "holds" if ratio >= least else "DOES NOT HOLD"
    return f"{what}: {ratio:.1%} (budget: at least {least:.0%}) - {verdict}"


def within(what: str, value: float, most: float, unit: str) -> str:
    """Return the verdict on a figure with an upper bound."""
    verdict = "holds" if value <= most else "DOES NOT HOLD"
    return f"{what}: {value:,.2f} {unit} (budget: at most {most:,.0f} {unit}) - {verdict}"


def memory_mb(field: str = "VmRSS", pid: int | str = "self") -> float:
    """Return a process's memory in MB, now (``VmRSS``) or at its peak (``VmHWM``); 0 if unknown."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith(field)]
    return int(found[0]) / 1024 if found else 0.0
