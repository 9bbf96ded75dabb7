"""A million jobs for real: from a list file through a ledger in PostgreSQL, with a takeover.

The installed command runs in two processes, as on two hosts: each has its own folder with the same
manifest and list, and both name one ledger in PostgreSQL. The second one waits (``--wait``). When
half of the jobs are made, the first is killed (or stopped, ``--end stop``), and the second takes
over. The service is a stub on loopback that keeps every job and misbehaves on purpose
(``bench_backfill_stub``): it loses answers and requests, fails, and asks to slow down. Some lines
of the list name an object again.

At the end everything is counted: the stub has exactly one job for each object, the report exactly
one row, and the ledger says the same. Times, memory, processor time, calls and the size of the
database are shown; the processes share this machine with the service and the database.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

sys.path.insert(
    0, str(Path(__file__).resolve().parent.parent)
)  # measures this tree, installed or not

import bench_backfill_stub
from bench_runner import JOBS
from bench_stub import running_stub
from bench_table import memory_mb, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

BYTES_PER_JOB = 6000
"""Space that must be free at the start: tables, indexes, the database's log, lists, reports."""
REPEATED = 1000
"""One line in so many names the object of the line before again."""
_TICK_S = 0.5
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")

MANIFEST = """\
version: 1
name: backfill
service: {{ci: '{url}', cos: '{url}'}}
{jobs}inputs:
  - list: {list}
limits: {{submit_per_s: {rate:g}, query_per_s: {rate:g}, in_flight: {in_flight}, timeout_s: 5}}
retry: {{settle_s: 5, initial_s: 0.2, cap_s: 5}}
report: reports/{{run}}.jsonl
"""


# --- the processes


@dataclass
class Process:
    """A process that is measured, with its children.

    Attributes:
        name: What the table calls it.
        pid: Its id.
        cpu_s: Processor time, as last seen.
        peak_mb: Largest resident memory, as last seen; 0 where it says nothing.
    """

    name: str
    pid: int
    cpu_s: float = 0.0
    peak_mb: float = 0.0

    def look(self) -> None:
        """Read the figures, if the process is still there."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            self.peak_mb = max(self.peak_mb, memory_mb("VmHWM", self.pid))
            self.cpu_s = max(self.cpu_s, _cpu_s(self.pid))


def _cpu_s(pid: int) -> float:
    """Return the processor time of a process and of its children, ended ones included."""
    total = 0.0
    for one in (pid, *_children(pid)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            own = 4 if one == pid else 2  # of its own, and of ended children
            total += sum(map(int, fields[11 : 11 + own])) / _TICKS_PER_S
    return total


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in text.split()]
    return []


@dataclass
class Host:
    """A folder with the manifest, and the command that runs it."""

    folder: Path
    process: subprocess.Popen[str] | None = None

    def start(self, ledger: str, *options: str) -> Process:
        """Start the command."""
        command = [sys.executable, "-m", "orchestrator", "run", "backfill.yaml", "--json"]
        with (self.folder / "log").open("w") as log, (self.folder / "result").open("w") as result:
            self.process = subprocess.Popen(
                [*command, "--stats", "10s", "--ledger", ledger, *options],
                cwd=self.folder,
                env=_environment(self.folder),
                stdin=subprocess.DEVNULL,
                stdout=result,
                stderr=log,
                text=True,
            )
        return Process(self.folder.name, self.process.pid)

    @property
    def code(self) -> int | None:
        """Exit code; None while it runs."""
        return self.process.poll() if self.process else None

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "log").read_text()

    def result(self) -> dict[str, Any]:
        """What it printed at its end."""
        found: dict[str, Any] = json.loads((self.folder / "result").read_text())
        return found

    def end(self) -> None:
        """End it, whatever it does."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TENCENT")}
    return kept | {
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),  # this tree, installed or not
        "HOME": str(folder),
        "ORCHESTRATOR_STATE_DIR": str(folder / "state"),
        "TENCENTCLOUD_SECRET_ID": "AKIDBENCHMARKBENCHMARK",
        "TENCENTCLOUD_SECRET_KEY": "aKeyThatOpensNothingAtAll",
    }


def prepare(folder: Path, url: str, options: argparse.Namespace) -> Host:
    """Write the manifest and the list of one host."""
    folder.mkdir()
    text = MANIFEST.format(
        url=url,
        jobs=JOBS.format(),
        list="library.csv",
        rate=options.rate,
        in_flight=int(options.rate * 10),
    )
    (folder / "backfill.yaml").write_text(text)
    with (folder / "library.csv").open("w", encoding="utf-8") as out:
        out.write("object,etag,size_bytes\n")
        for number in range(options.jobs):
            line = f"{name_of(number)},{number:032x},219263\n"
            out.write(line * (2 if number % REPEATED == REPEATED - 1 else 1))
    return Host(folder)


def name_of(number: int) -> str:
    """Return the name of an object."""
    return f"library/{number % 997:03d}/recording-{number:08d}.mp3"


def number_of(name: str) -> int:
    """Return the number of an object."""
    return int(name.rpartition("-")[2].removesuffix(".mp3"))


# --- the run


@dataclass
class Course:
    """What was seen while it ran. Instants are of ``perf_counter``.

    Attributes:
        began_at: Start of the first process.
        ended_at: End of the second one.
        stopped_at: When the first one was killed or stopped.
        resumed_at: The first POST after that which the second one sent.
        jobs_then: Jobs that were made until then.
        processes: The processes, with their figures.
        loads: Load of the machine, one reading per second.
    """

    began_at: float = 0.0
    ended_at: float = 0.0
    stopped_at: float = 0.0
    resumed_at: float = 0.0
    jobs_then: int = 0
    processes: list[Process] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)

    def look(self) -> None:
        """Read the figures of all processes."""
        for process in self.processes:
            process.look()
        self.loads.append(os.getloadavg()[0])


def asked(url: str, what: str) -> dict[str, Any]:
    """Return an answer of the stub."""
    with urlopen(f"{url}/bench/{what}", timeout=60) as reply:  # noqa: S310 - our own on loopback
        answer: dict[str, Any] = json.loads(reply.read())
    return answer


def carry_out(
    hosts: Sequence[Host], url: str, ledger: str, course: Course, options: argparse.Namespace
) -> None:
    """Run both processes; end the first one half way."""
    first, second = hosts
    course.began_at = perf_counter()
    until = course.began_at + options.minutes * 60
    course.processes.append(first.start(ledger))
    _until(lambda: asked(url, "stats")["jobs"] > 0, first, course, until)
    course.processes.append(second.start(ledger, "--wait"))
    _until(lambda: asked(url, "stats")["jobs"] >= options.jobs // 2, first, course, until)
    assert first.process is not None  # noqa: S101 - started above
    first.process.send_signal(signal.SIGSTOP if options.end == "stop" else signal.SIGKILL)
    course.stopped_at = perf_counter()
    course.jobs_then = asked(url, "stats")["jobs"]
    threading.Event().wait(0.2)  # what was on the wire arrives
    posts = asked(url, "stats")["posts"]
    _until(lambda: asked(url, "stats")["posts"] > posts, second, course, until)
    course.resumed_at = perf_counter()
    _until(lambda: second.code is not None, None, course, until)
    course.ended_at = perf_counter()
    if options.end == "stop":
        first.process.send_signal(signal.SIGCONT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        first.process.wait(60)


def _until(condition: Any, running: Host | None, course: Course, until: float) -> None:
    """Wait for a condition; fail if the process that works on it has ended, or time is up."""
    pause = threading.Event()
    while not condition():
        if running is not None and running.code is not None:
            raise SystemExit(f"{running.folder.name} ended with {running.code}:\n{running.log}")
        if perf_counter() > until:
            raise SystemExit(f"time is up; raise --minutes. {course}")
        course.look()
        pause.wait(_TICK_S)


# --- what became of it


def rows_of(host: Host) -> tuple[Counter[str], Counter[int], int]:
    """Return the rows of a host's reports: how many per state, per object, and in all."""
    states: Counter[str] = Counter()
    times = Counter[int]()
    for path in sorted((host.folder / "reports").glob("*.jsonl")):
        with path.open("rb") as file:
            for line in file:
                row = json.loads(line)
                states[row["state"]] += 1
                times[number_of(row["input"]["object"])] += 1
    return states, times, states.total()


def wrong(
    hosts: Sequence[Host],
    audit: dict[str, Any],
    states: dict[str, int],
    options: argparse.Namespace,
) -> list[str]:
    """Return what is not as it must be: each object has one job, and one row, and has succeeded."""
    found = []
    jobs = options.jobs
    if (audit["jobs"], audit["objects"], audit["doubled"]) != (jobs, jobs, []):
        found.append(f"the service has {audit} instead of one job for each of {jobs:,} objects")
    if states != {"succeeded": jobs}:
        found.append(f"the ledger has {states}")
    first, second = hosts
    by_state, times, rows = rows_of(second)
    if (rows, len(times), by_state["succeeded"]) != (jobs, jobs, jobs):
        found.append(f"the report has {rows:,} rows of {len(times):,} objects: {by_state}")
    _, earlier, _ = rows_of(first)
    if any(count > 1 for count in earlier.values()):
        found.append("the report of the first process has an object twice")
    codes = first.code, second.code
    expected = (5 if options.end == "stop" else -signal.SIGKILL, 0)
    if codes != expected:
        found.append(f"the exit codes are {codes}, not {expected}")
    return found


def database_facts(conn: psycopg.Connection[Any], schema: str) -> dict[str, Any]:
    """Return states of the jobs, sizes in bytes, and dead rows."""
    conn.execute("SELECT set_config('search_path', %s, false)", [f'"{schema}"'])
    states = dict(conn.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall())
    sizes = conn.execute(
        "SELECT relname, pg_table_size(relid), pg_indexes_size(relid), n_dead_tup,"
        " n_tup_upd, n_tup_hot_upd, autovacuum_count FROM pg_stat_user_tables"
        " WHERE schemaname = %s ORDER BY 2 DESC",
        [schema],
    ).fetchall()
    [log_bytes] = conn.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone() or [0]
    return {"states": states, "tables": sizes, "log_bytes": int(log_bytes)}


@contextlib.contextmanager
def database(options: argparse.Namespace) -> Iterator[tuple[str, Any, list[Process]]]:
    """Yield the address of a ledger, a way to connect as its owner, and the server's process."""
    from tests.postgres_server import PostgresServer

    settings = {"shared_buffers": "256MB", "max_wal_size": "4GB", "checkpoint_timeout": "5min"}
    with PostgresServer(durable=True, settings=settings) as server:
        url = server.url("backfill") + f"&lease={options.lease:g}&name=backfill"
        pid = int((server.data / "postmaster.pid").read_text().split()[0])
        yield url, server.connect, [Process("PostgreSQL", pid)]


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run, count, and return the figures."""
    from orchestrator.postgresql import parse_address

    course = Course()
    stack = contextlib.ExitStack()
    with stack:
        ledger, connect, servers = stack.enter_context(database(options))
        stub = stack.enter_context(running_stub(bench_backfill_stub.__file__))
        conn = stack.enter_context(connect())
        [before] = conn.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
        course.processes += servers
        course.processes.append(Process("stub", stub.pid))
        hosts = [prepare(folder / name, stub.url, options) for name in ("first", "second")]
        for host in hosts:
            stack.callback(host.end)
        carry_out(hosts, stub.url, ledger, course, options)
        stats, audit, pace = (asked(stub.url, what) for what in ("stats", "audit", "pace"))
        facts = database_facts(conn, parse_address(ledger).ledger_schema)
        facts["log_bytes"] -= int(before)
        found = wrong(hosts, audit, facts["states"], options)
        notices = [host.log.splitlines()[-200:] for host in hosts]
        calls = hosts[1].result()["calls"] if hosts[1].code == 0 else {}
    return {
        "jobs": options.jobs,
        "end": options.end,
        "rate": options.rate,
        "seconds": course.ended_at - course.began_at,
        "jobs_then": course.jobs_then,
        "takeover_s": course.resumed_at - course.stopped_at,
        "processes": {one.name: [one.cpu_s, one.peak_mb] for one in course.processes},
        "loads": [min(course.loads), sum(course.loads) / len(course.loads), max(course.loads)],
        "stub": stats,
        "pace": pace,
        "database": facts,
        "calls_of_second": calls,
        "wrong": found,
        "logs": notices,
    }


# --- shown


def table(figures: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the rows of the table."""
    jobs, stub, pace = figures["jobs"], figures["stub"], figures["pace"]
    calls = {name: stub[name] for name in ("posts", "queries", "lists", "heads")}
    faults = ", ".join(f"{count:,} {what}" for what, count in sorted(stub["faults"].items()))
    posts_s = stub["last_at"] - stub["first_at"]
    rows = [
        ("time", f"{figures['seconds']:,.0f} s"),
        ("jobs/s, start and takeover included", f"{jobs / figures['seconds']:,.0f}"),
        ("jobs/s from the first to the last POST", f"{jobs / posts_s:,.0f}"),
        ("most POSTs in any second", f"{pace['most_in_1s']:,}"),
        ("jobs at the takeover", f"{figures['jobs_then']:,}"),
        ("first POST after the takeover", f"{figures['takeover_s']:.1f} s"),
        ("longest time without a POST", f"{pace['longest_gap_s']:.1f} s"),
        *(
            (f"calls: {name}", f"{count:,} ({count / jobs:.3f} per job)")
            for name, count in calls.items()
        ),
        ("faults played", faults),
    ]
    for name, (cpu_s, peak_mb) in figures["processes"].items():
        peak = f", peak {peak_mb:,.0f} MB" if name != "PostgreSQL" else ""
        rows.append((f"process {name}", f"{cpu_s:,.0f} s of processor time{peak}"))
    for name, table_bytes, index_bytes, dead, *_ in figures["database"]["tables"]:
        if table_bytes + index_bytes > 1_000_000:
            sizes = f"{table_bytes / 1e6:,.0f} + {index_bytes / 1e6:,.0f} MB of indexes"
            rows.append((f"table {name}", f"{sizes}, {dead:,} dead rows"))
    total = sum(row[1] + row[2] for row in figures["database"]["tables"])
    rows.append(("database", f"{total / 1e6:,.0f} MB, {total / jobs:,.0f} bytes per job"))
    log_bytes = figures["database"]["log_bytes"]
    rows.append(
        ("log of the database", f"{log_bytes / 1e6:,.0f} MB, {log_bytes / jobs:,.0f} per job")
    )
    return rows


def limited_by(figures: dict[str, Any]) -> str:
    """Return what kept the rate from being higher."""
    seconds, cores = figures["seconds"], os.cpu_count() or 1
    used = {name: cpu_s for name, (cpu_s, _) in figures["processes"].items()}
    reached = figures["jobs"] / seconds
    if reached >= 0.97 * figures["rate"]:
        return f"the configured limit of {figures['rate']:g} per second"
    share = sum(used.values()) / seconds / cores
    load = figures["loads"][1]
    runs = (used["first"] + used["second"]) / seconds
    return (
        f"processor time: the processes of the benchmark used {share:.0%} of {cores} cores (the "
        f"run {runs:.0%} of one), at a mean load of {load:.1f} with the other programs"
    )


def main() -> None:
    """Measure, show, and check."""
    options = parsed()
    folder = options.folder or Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if free < options.jobs * BYTES_PER_JOB + 2**30:
        raise SystemExit(f"{folder} has {free / 1e9:.1f} GB left, which is not enough")
    with tempfile.TemporaryDirectory(dir=folder) as name:
        figures = measure(Path(name), options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    how = "killed" if options.end == "kill" else "stopped"
    show(
        f"backfill: {options.jobs:,} jobs, limit {options.rate:g} per second, the first process "
        f"{how} half way",
        ("", ""),
        table(figures),
        [
            f"limited by {limited_by(figures)}",
            *(f"WRONG: {text}" for text in figures["wrong"]),
            *(
                []
                if figures["wrong"]
                else ["every object has one job and one row: nothing lost, nothing doubled"]
            ),
        ],
    )
    if figures["wrong"]:
        raise SystemExit(1)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench backfill", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="20,000 jobs")
    parser.add_argument("--jobs", type=int, help="jobs (default 1000000, quick 20000)")
    parser.add_argument(
        "--rate", type=float, default=1000.0, help="limit per second (default 1000)"
    )
    parser.add_argument(
        "--end", choices=("kill", "stop"), default="kill", help="end of the first process"
    )
    parser.add_argument("--lease", type=float, default=5.0, help="lease in seconds (default 5)")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="give up after this time (default 60)"
    )
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument(
        "--folder", type=Path, help="where lists and reports go (default: the temporary folder)"
    )
    options = parser.parse_args()
    options.jobs = options.jobs or (20_000 if options.quick else 1_000_000)
    return options


if __name__ == "__main__":
    main()
