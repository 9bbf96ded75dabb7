"""Make a ledger of many finished jobs and the report of its run, without running them.

The product's own statements and report write a million jobs in about a minute; a run would take
hours at a vendor's rate. A run over the same list checks the result: it must find every job done.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench_runner import BUCKET, MANIFEST, REGION

from orchestrator.domain.clock import SystemClock
from orchestrator.domain.job import Job, StemFile
from orchestrator.domain.run import Holder
from orchestrator.domain.spec import (
    AudioConfig,
    AudioMode,
    JobSpec,
    MediaObject,
    Operation,
    Origin,
    Output,
)
from orchestrator.domain.states import Step
from orchestrator.ledger import open_ledger
from orchestrator.ledger.job_rows import object_hash, snapshot
from orchestrator.ledger.spec_json import encode_spec
from orchestrator.ledger.sqlite import SqliteStore
from orchestrator.manifest.planning.planner import job_key
from orchestrator.reporting.report_file import ReportFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Run

FIRST, LIBRARY, LAST = "first.txt", "library.csv", "last.txt"
"""The lists of the manifest: a short one, the large one, a short one."""
KILLED, DONE = "killed", "done"
"""Folders of the two ledgers; the manifest and its lists are above them."""
LEDGER = "bench.db"
_BATCH = 5_000
_OPERATION = Operation(
    audio_mode=AudioMode.AUDIO_AND_BACKGROUND, audio=AudioConfig("mp3", 44_100, 192, 2)
)


def write_lists(folder: Path, jobs: int) -> None:
    """Write the manifest and its lists: ``jobs`` objects in the large one, one in each other."""
    with (folder / LIBRARY).open("w", encoding="utf-8") as out:
        out.write("object,etag,size_bytes\n")
        out.writelines(f"{_name(number)}.mp3,{number:032x},219263\n" for number in range(jobs))
    for name in (FIRST, LAST):
        (folder / name).write_text(f"{name.removesuffix('.txt')}/known.mp3\n", encoding="utf-8")
    lists = f"{FIRST}\n  - list: {LIBRARY}\n  - list: {LAST}"
    (folder / "bench.yaml").write_text(MANIFEST.format(name=lists), encoding="utf-8")


def _name(number: int) -> str:
    return f"library/{number % 997:03d}/recording-{number:08d}"


def _specs(folder: Path, jobs: int) -> Iterator[JobSpec]:
    """Yield the jobs of these lists, as the planner makes them."""
    yield _spec("first/known", Origin(str(folder / FIRST), 1, "inputs[0]"))
    file = str(folder / LIBRARY)
    for number in range(jobs):
        yield _spec(_name(number), Origin(file, number + 2, "inputs[1]"), f"{number:032x}", 219_263)
    yield _spec("last/known", Origin(str(folder / LAST), 1, "inputs[2]"))


def _spec(name: str, origin: Origin, etag: str = "", size_bytes: int | None = None) -> JobSpec:
    media = MediaObject(BUCKET, REGION, f"{name}.mp3", etag, size_bytes)
    output = Output(
        BUCKET, REGION, voice=f"stems/{name}/voice.mp3", background=f"stems/{name}/background.mp3"
    )
    key = job_key(media, _OPERATION, output)
    return JobSpec(key, media, _OPERATION, output, user_data=name.rpartition("/")[2], origin=origin)


def _finished(number: int, spec: JobSpec, run: Run, now: float) -> Job:
    """Return a job with all the fields of a finished one."""
    job = Job(number, spec, seq=number, run_no=run.number, row=number)
    for step in (Step.SEND, Step.ACCEPT, Step.START, Step.SUCCEED):
        job.step(step)
    job.attempts, job.job_id, job.queue_id, job.request_id = (
        1,
        f"j{number:032x}",
        "p" + "0" * 32,
        "NjJmMzI5MmRfOTBm",
    )
    job.intent_at = job.submitted_at = job.started_at = job.finished_at = now
    job.media_duration_s = 13.688163
    job.files = tuple(
        StemFile(stem, name, f"{number:032x}", 219_263, verified=True)
        for stem, name in spec.output.names().items()
    )
    return job


def _not_written() -> Exception:
    return RuntimeError("the ledger did not take all jobs")


def _fill(ledger: Path, specs: Iterator[JobSpec], run: Run, report: ReportFile) -> None:
    """Write the jobs into the ledger, which must be closed, and their rows into the report."""
    store = SqliteStore(ledger)
    unit = store.open()
    for setting in (
        "journal_mode = DELETE",
        "journal_mode = OFF",
        "synchronous = OFF",
        "cache_size = -400000",
    ):
        store.conn.execute(f"PRAGMA {setting}")  # a ledger lost here is made again
    store.begin(unit, writes=True)
    planned = enumerate(specs, 1)
    while batch := [
        _finished(number, spec, run, run.opened_at) for number, spec in islice(planned, _BATCH)
    ]:
        new = [
            (job.id, job.spec.key, job.spec.level, job.spec.share, job.seq, run.visit, run.number)
            for job in batch
        ]
        unit.db.write("insert_jobs", new, _not_written)
        unit.db.write(
            "insert_specs",
            [
                (job.id, object_hash(job.spec.media), encode_spec(job.spec).decode())
                for job in batch
            ],
            _not_written,
        )
        rows = [(*snapshot(job), run.number, job.row, 0) for job in batch]
        unit.db.write("save", rows, _not_written)
        report.offer(batch)
    store.commit(unit)
    store.conn.execute("PRAGMA journal_mode = WAL")
    store.close(unit)


async def _open(folder: Path) -> Ledger:
    clock = SystemClock()
    ledger = open_ledger(folder / LEDGER)
    await ledger.acquire(Holder("bench", os.getpid(), clock.now()))
    return ledger


class _Lent:
    """The ledger that is open now: it is closed and reopened while its report is written."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ledger, name)


async def make(folder: Path, jobs: int) -> None:
    """Make two ledgers of finished jobs below ``folder``.

    ``done`` has ended; ``killed`` looks as after a power cut.
    """
    now, killed, done = SystemClock().now(), folder / KILLED, folder / DONE
    killed.mkdir()
    write_lists(folder, jobs)
    ledger = await _open(killed)
    await ledger.remember("service", b"tencent")
    run = await ledger.begin_run("bench", now, str(killed / "{run}.jsonl"))
    lent: Any = _Lent(ledger)
    report = ReportFile(Path(run.report), run, lent)
    await report.open()
    await ledger.close()
    _fill(killed / LEDGER, _specs(folder, jobs), run, report)
    done.mkdir()
    shutil.copy2(killed / LEDGER, done / LEDGER)
    lent.ledger = await _open(killed)
    await lent.ledger.begin_run("bench", now, "-")
    await report.checkpoint()
    other = await _open(done)
    await other.end_run(await other.begin_run("bench", now, "-"), now)
    await other.close()


def make_and_die(folder: Path, jobs: int) -> None:
    """Make both, and exit without closing anything."""
    asyncio.run(make(folder, jobs))
    os._exit(0)


def add_new_objects(folder: Path) -> None:
    """One new object in front of the large list, and one behind it."""
    for name in (FIRST, LAST):
        with (folder / name).open("a", encoding="utf-8") as out:
            out.write(f"{name.removesuffix('.txt')}/new.mp3\n")
