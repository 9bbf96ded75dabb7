"""Measure the real-time factor and peak memory of a worker on a 1-minute and a 10-minute file.

Each file is separated in its own process, like in a worker of the local service: decode mp3,
separate, encode two aac files. Another process generates the files, so that it does not count.
Prints a table. With ``--check``, the exit code is 1 if a budget is exceeded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # measure this tree, installed or not

MAX_REALTIME_FACTOR = 0.10
MAX_PEAK_MB = 1000.0
MINUTES = (1, 10)
ALLOWED_GROWTH = 1.10
"""Peak of the long file divided by that of the short one; the allocator adds some noise."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one worker.

    ``cpu_s`` counts all threads, which distinguishes a slow machine from a busy one.
    """

    minutes: int
    load_s: float
    work_s: float
    cpu_s: float
    realtime_factor: float
    peak_mb: float


def generate(path: Path, minutes: int) -> None:
    """Write an mp3: a gliding tone with overtones, a slow chord and a little noise."""
    import numpy as np

    from orchestrator.separation.formats import OutputFormat
    from orchestrator.separation.media.encode import StemWriter

    rate = 44100
    random = np.random.default_rng(1)
    writer = StemWriter(path, OutputFormat("mp3", rate, 2, 192))
    for second in range(minutes * 60):
        time_s = second + np.arange(rate) / rate
        glide = 2 * np.pi * (180 * time_s + 8 * np.sin(2 * np.pi * 0.9 * time_s))
        voice = sum(np.sin(glide * overtone) / overtone for overtone in range(1, 12)) * (
            0.5 + 0.5 * np.sin(2 * np.pi * 2.3 * time_s)
        )
        chord = sum(np.sin(2 * np.pi * tone * time_s) for tone in (110.0, 164.8, 220.0, 277.2))
        sides = [
            voice * 0.15 + chord * level + random.standard_normal(rate) * 0.01
            for level in (0.06, 0.09)
        ]
        writer.write(np.stack(sides, axis=1).astype(np.float32))
    writer.close()


def measure(path: Path, minutes: int, threads: int) -> Figures:
    """Separate one file in this process."""
    from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
    from orchestrator.separation.separate import SeparationTask, separate_file

    outputs = {stem: path.with_suffix(f".{stem}") for stem in (Stem.VOICE, Stem.BACKGROUND)}
    task = SeparationTask(path, outputs, AudioMode.AUDIO_AND_BACKGROUND, AudioConfig(codec="aac"))
    before_s = time.process_time()
    result = separate_file(task, threads=threads)
    cpu_s = time.process_time() - before_s
    return Figures(minutes, result.load_s, result.work_s, cpu_s, result.realtime_factor, peak_mb())


def peak_mb() -> float:
    """Return the peak resident memory of this process.

    On Linux, getrusage also counts the process before exec, so /proc is read instead.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_worker(*arguments: str) -> str:
    """Run one step of this script in a new process."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def main() -> int:
    """Generate, measure, print."""
    arguments = parsed()
    if arguments.generate or arguments.measure:
        return step(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in MINUTES:
            path = str(Path(folder) / f"{minutes}min.mp3")
            in_worker("--generate", path, "--minutes", str(minutes))
            raw = in_worker(
                "--measure", path, "--minutes", str(minutes), "--threads", str(arguments.threads)
            )
            rows.append(Figures(**json.loads(raw)))
    faults = broken(rows)
    print(
        json.dumps({"rows": [asdict(row) for row in rows], "broken": faults})
        if arguments.json
        else table(rows, faults)
    )
    return 1 if faults and arguments.check else 0


def step(arguments: argparse.Namespace) -> int:
    """Run one step in a worker process."""
    if arguments.generate:
        generate(arguments.generate, arguments.minutes)
    else:
        print(json.dumps(asdict(measure(arguments.measure, arguments.minutes, arguments.threads))))
    return 0


def broken(rows: list[Figures]) -> list[str]:
    """Return the exceeded budgets."""
    faults = [
        f"{row.minutes} min: real-time factor {row.realtime_factor:.3f}"
        for row in rows
        if row.realtime_factor > MAX_REALTIME_FACTOR
    ]
    faults += [
        f"{row.minutes} min: peak {row.peak_mb:.0f} MB" for row in rows if row.peak_mb > MAX_PEAK_MB
    ]
    growth = rows[-1].peak_mb / rows[0].peak_mb
    return faults + (
        [f"the peak grows with the file: {growth:.2f} times"] if growth > ALLOWED_GROWTH else []
    )


def table(rows: list[Figures], faults: list[str]) -> str:
    """Return the figures as a table."""
    lines = [f"{'file':>8} {'load s':>8} {'work s':>8} {'CPU s':>8} {'RTF':>7} {'peak MB':>9}"]
    lines += [
        f"{row.minutes:>4} min {row.load_s:>8.2f} {row.work_s:>8.2f} {row.cpu_s:>8.2f} "
        f"{row.realtime_factor:>7.3f} {row.peak_mb:>9.0f}"
        for row in rows
    ]
    lines.append(
        f"budget: RTF <= {MAX_REALTIME_FACTOR:.2f}, "
        f"peak <= {MAX_PEAK_MB:.0f} MB and equal for both files"
    )
    lines += [f"EXCEEDED: {fault}" for fault in faults] or ["all budgets hold"]
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--threads",
        type=int,
        default=0,
        help="threads of the engine; 0 (default) means one per core",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a budget is exceeded")
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=int, default=1, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
