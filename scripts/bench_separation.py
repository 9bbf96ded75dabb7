"""Measure the separation of one file: its share of the file's length, the gain, and the memory.

Each file is separated in its own process, like in a worker of the local service: decode mp3,
separate, encode two aac files. Another process generates the files, so that it does not count.

Two engines alternate, round by round, on a file of 3 minutes: that of this machine and, to compare,
onnxruntime (or another copy of this project, with ``--against``). The ratio is the median of the
rounds' ratios, so a busy machine slows both sides. Then the engine separates files of 1 and 10
minutes, whose peak memory must not differ. Prints tables. With ``--check``, the exit code is 1 if a
budget is exceeded.

With ``--short COUNT`` it separates that many files of 3 seconds in one run of the command with its
local service instead, and prints jobs per minute. With ``--batch`` it separates files of a minute
with several numbers of workers and of threads, and prints which gets most done.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
TREE = "ORCHESTRATOR_BENCH_TREE"
sys.path.insert(0, os.environ.get(TREE, str(ROOT)))  # measure that tree, installed or not

MAX_REALTIME_FACTOR = 0.025
"""On two cores with AVX-512 BF16."""
MIN_GAIN = 2.0
MAX_PEAK_MB = 600.0
COMPARED_MINUTES = 3
MEMORY_MINUTES = (1, 10)
SHORT_S = 3
BATCH = 8
"""Files of a minute that workers share."""
ALLOWED_GROWTH = 1.10
"""Peak of the long file divided by that of the short one; the allocator adds some noise."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one worker.

    ``cpu_s`` counts all threads and the loading, and hardly depends on other programs.
    """

    minutes: int
    engine: str
    load_s: float
    work_s: float
    cpu_s: float
    realtime_factor: float
    peak_mb: float


def generate(path: Path, seconds: int) -> None:
    """Write an mp3: a gliding tone with overtones, a slow chord and a little noise."""
    import numpy as np

    from orchestrator.separation.formats import OutputFormat
    from orchestrator.separation.media.encode import StemWriter

    rate = 44100
    random = np.random.default_rng(1)
    writer = StemWriter(path, OutputFormat("mp3", rate, 2, 192))
    for second in range(seconds):
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


def measure(path: Path, minutes: int, threads: int, name: str = "") -> Figures:
    """Separate one file in this process."""
    from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
    from orchestrator.separation.separate import SeparationTask, separate_file

    outputs = {stem: path.with_suffix(f".{name}{stem}") for stem in (Stem.VOICE, Stem.BACKGROUND)}
    task = SeparationTask(path, outputs, AudioMode.AUDIO_AND_BACKGROUND, AudioConfig(codec="aac"))
    before_s = time.process_time()
    result = separate_file(task, threads=threads)
    cpu_s = time.process_time() - before_s
    return Figures(
        minutes,
        getattr(result, "engine", "an earlier version"),  # it did not say
        result.load_s,
        result.work_s,
        cpu_s,
        result.realtime_factor,
        peak_mb(),
    )


def peak_mb() -> float:
    """Return the peak resident memory of this process.

    On Linux, getrusage also counts the process before exec, so /proc is read instead.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def in_worker(*arguments: str, **environment: str) -> str:
    """Run one step of this script in a new process."""
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    return done.stdout


def in_turn(folder: Path, arguments: argparse.Namespace) -> tuple[list[Figures], list[Figures]]:
    """Measure both engines, round by round."""
    path = generated(folder, COMPARED_MINUTES)
    other = {"ORCHESTRATOR_ENGINE_RUNTIME": "onnxruntime"}
    if arguments.against:
        other = {TREE: str(arguments.against.resolve())}
    ours, theirs = [], []
    for _ in range(arguments.rounds):
        theirs.append(measured(path, COMPARED_MINUTES, arguments.threads, **other))
        ours.append(measured(path, COMPARED_MINUTES, arguments.threads))
    return ours, theirs


def generated(folder: Path, minutes: int) -> Path:
    """Write the file of ``minutes`` minutes."""
    path = folder / f"{minutes}min.mp3"
    in_worker("--generate", str(path), "--minutes", str(minutes))
    return path


def measured(path: Path, minutes: int, threads: int, **environment: str) -> Figures:
    """Return the figures of a worker of its own."""
    options = ("--measure", str(path), "--minutes", str(minutes), "--threads", str(threads))
    return Figures(**json.loads(in_worker(*options, **environment)))


def main() -> int:
    """Generate, measure, print."""
    arguments = parsed()
    if arguments.generate or arguments.measure:
        return step(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if arguments.short or arguments.batch:
            print((short_files if arguments.short else batch)(folder, arguments))
            return 0
        ours, theirs = in_turn(folder, arguments)
        memory = [
            measured(generated(folder, minutes), minutes, arguments.threads)
            for minutes in MEMORY_MINUTES
        ]
    faults = broken(ours, theirs, memory)
    rows = [*theirs, *ours, *memory]
    print(
        json.dumps({"rows": [asdict(row) for row in rows], "broken": faults})
        if arguments.json
        else table(ours, theirs, memory, faults)
    )
    return 1 if faults and arguments.check else 0


def short_files(folder: Path, arguments: argparse.Namespace) -> str:
    """Return jobs per minute of many short files: those of this copy, and of the other one."""
    media = folder / "media"
    media.mkdir()
    first = folder / "first.mp3"
    in_worker("--generate", str(first), "--seconds", str(SHORT_S))
    for number in range(arguments.short):
        shutil.copy(first, media / f"{number:04}.mp3")
    sides = {"this copy": ROOT}
    if arguments.against:
        sides = {"other copy": arguments.against.resolve(), **sides}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    for turn in range(arguments.rounds):
        for name, tree in sides.items():
            found[name].append(run_of(folder / f"{name}-{turn}", media, tree))
    lines = [f"{arguments.short} files of {SHORT_S} s, {arguments.rounds} rounds"]
    for name, rows in found.items():
        rate = median(60 * arguments.short / wall_s for wall_s, _ in rows)
        cpu_s = median(cpu_s for _, cpu_s in rows) / arguments.short
        lines.append(f"{name:<11} {rate:7.0f} jobs/min, {cpu_s:.2f} s of processor time per job")
    lines.append(f"load of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    return "\n".join(lines)


def run_of(folder: Path, media: Path, tree: Path) -> tuple[float, float]:
    """Return wall and processor time of one run of the command, with its service and workers."""
    folder.mkdir()
    bucket = folder / "objects/media-1250000000"
    shutil.copytree(media, bucket / "in")
    # In words that all versions know.
    (folder / "run.yaml").write_text(
        "version: 1\nname: short\nservice: {local: {root: objects}}\nregion: ap-chongqing\n"
        "bucket: media-1250000000\ndefaults:\n"
        "  operation: {audio_mode: AudioAndBackground, audio: {codec: aac}}\n"
        "  output: {voice: 'out/{stem}.v.aac', background: 'out/{stem}.b.aac'}\n"
        "inputs: [{prefix: in/}]\n"
    )
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", "run", "run.yaml", "--quiet"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"the run in {tree} ended with {done.returncode}: {done.stderr[-2000:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, used


def batch(folder: Path, arguments: argparse.Namespace) -> str:
    """Return what several numbers of workers and threads get done."""
    path = generated(folder, 1)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    pairs = [(1, cores), (cores, 1), (cores, cores), (2 * cores, 1), (max(cores // 2, 1), 2)]
    found: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for _ in range(arguments.rounds):
        for pair in dict.fromkeys(pairs):
            found.setdefault(pair, []).append(batch_of(path, *pair))
    lines = ["workers  threads  files/min  CPU s/file   (files of one minute)"]
    for (workers, threads), rows in found.items():
        rate = median(60 * BATCH / wall_s for wall_s, _ in rows)
        cpu_s = median(cpu_s for _, cpu_s in rows) / BATCH
        lines.append(f"{workers:>7} {threads:>8} {rate:>10.1f} {cpu_s:>11.2f}")
    lines.append(f"load of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    return "\n".join(lines)


def batch_of(path: Path, workers: int, threads: int) -> tuple[float, float]:
    """Return wall and processor time of a batch that some processes share."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    shares = [BATCH // workers + (number < BATCH % workers) for number in range(workers)]
    processes = [
        subprocess.Popen(
            [
                sys.executable, __file__, "--measure", str(path), "--minutes", "1",
                "--threads", str(threads), "--times", str(share), "--name", str(number),
            ],
            stdout=subprocess.DEVNULL,
        )
        for number, share in enumerate(shares) if share
    ]  # fmt: skip
    codes = [process.wait() for process in processes]
    if any(codes):
        sys.exit("a worker failed")
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, used


def step(arguments: argparse.Namespace) -> int:
    """Run one step in a worker process."""
    if arguments.generate:
        generate(arguments.generate, arguments.seconds or arguments.minutes * 60)
    else:
        for _ in range(arguments.times - 1):
            measure(arguments.measure, arguments.minutes, arguments.threads, arguments.name)
        options = (arguments.minutes, arguments.threads, arguments.name)
        print(json.dumps(asdict(measure(arguments.measure, *options))))
    return 0


def gains(ours: list[Figures], theirs: list[Figures], name: str) -> list[float]:
    """Return the ratio of each round."""
    return [
        getattr(other, name) / getattr(one, name) for one, other in zip(ours, theirs, strict=True)
    ]


def broken(ours: list[Figures], theirs: list[Figures], memory: list[Figures]) -> list[str]:
    """Return the exceeded budgets."""
    faults = []
    factor = median(row.realtime_factor for row in ours)
    if factor > MAX_REALTIME_FACTOR:
        faults.append(f"the share of the file's length is {factor:.3f}")
    gain = median(gains(ours, theirs, "work_s"))
    if gain < MIN_GAIN:
        faults.append(f"the gain is {gain:.2f}")
    faults += [
        f"{row.minutes} min: peak {row.peak_mb:.0f} MB"
        for row in [*ours, *memory]
        if row.peak_mb > MAX_PEAK_MB
    ]
    growth = memory[-1].peak_mb / memory[0].peak_mb
    if growth > ALLOWED_GROWTH:
        faults.append(f"the peak grows with the file: {growth:.2f} times")
    return faults


def table(
    ours: list[Figures], theirs: list[Figures], memory: list[Figures], faults: list[str]
) -> str:
    """Return the figures as a table."""
    lines = [
        f"{'file':>6} {'load s':>7} {'work s':>7} {'CPU s':>7} {'share':>6} {'peak MB':>8}  engine"
    ]
    pairs = [row for pair in zip(theirs, ours, strict=True) for row in pair]
    lines += [
        f"{row.minutes:>2} min {row.load_s:>7.2f} {row.work_s:>7.2f} {row.cpu_s:>7.2f} "
        f"{row.realtime_factor:>6.3f} {row.peak_mb:>8.0f}  {row.engine}"
        for row in [*pairs, *memory]
    ]
    for name, words in (("work_s", "time"), ("cpu_s", "processor time")):
        ratios = gains(ours, theirs, name)
        lines.append(
            f"{words}: {median(ratios):.2f} times less than the other engine "
            f"(rounds: {min(ratios):.2f} to {max(ratios):.2f})"
        )
    lines.append(f"load of the machine: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    lines.append(
        f"budget: share <= {MAX_REALTIME_FACTOR}, gain >= {MIN_GAIN}, "
        f"peak <= {MAX_PEAK_MB:.0f} MB and equal for short and long files"
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
    parser.add_argument("--rounds", type=int, default=3, help="rounds of both engines (default: 3)")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FOLDER",
        help="compare with another copy of this project, not with onnxruntime",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a budget is exceeded")
    parser.add_argument("--short", type=int, default=0, metavar="COUNT", help="many short files")
    parser.add_argument("--batch", action="store_true", help="compare workers and threads")
    parser.add_argument("--generate", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--times", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--name", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
