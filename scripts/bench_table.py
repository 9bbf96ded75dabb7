"""What all benchmarks print: one small table, the budget, the machine, and whether the budget holds."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def machine() -> str:
    """The machine in a line, for the foot of a table."""
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
    return f"{os.cpu_count()} cores ({name}), {platform.system()}, Python {platform.python_version()}, load {load:.1f}"


def show(
    title: str, head: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()
) -> None:
    """Print a table: the first column to the left, the others to the right; then the notes and the machine."""
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
    """A line that says whether a ratio keeps its budget."""
    return f"{what}: {ratio:.1%} (budget: at least {least:.0%}) - {'holds' if ratio >= least else 'DOES NOT HOLD'}"


def within(what: str, value: float, most: float, unit: str) -> str:
    """A line that says whether a figure stays within its budget."""
    return f"{what}: {value:,.2f} {unit} (budget: at most {most:,.0f} {unit}) - {'holds' if value <= most else 'DOES NOT HOLD'}"


def memory_mb(field: str = "VmRSS", pid: int | str = "self") -> float:
    """Resident memory of a process now (``VmRSS``) or at most so far (``VmHWM``), in MB; 0 where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return 0.0
    found = [line.split()[1] for line in status.read_text().splitlines() if line.startswith(field)]
    return int(found[0]) / 1024 if found else 0.0
