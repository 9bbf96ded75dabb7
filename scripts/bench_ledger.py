"""Measure the ledger: adding and saving, alone and beside a busy event loop, and opening.

Usage: scripts/bench_ledger.py [--jobs 1000000] [--folder DIR] [--postgres [URL]]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import resource
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.job import Job, StemFile
from orchestrator.domain.run import Holder
from orchestrator.domain.spec import (
    AudioConfig,
    AudioMode,
    JobKey,
    JobSpec,
    MediaObject,
    Operation,
    Origin,
    Output,
    Stem,
)
from orchestrator.domain.states import JobState, Step
from orchestrator.ledger import open_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.ports import Ledger

T0 = 1_795_309_200.0
CHUNK = 1000
BUCKET, REGION = "media-1250000000", "ap-chongqing"
OPERATION = Operation("", AudioMode.AUDIO_AND_BACKGROUND, AudioConfig("mp3", 44_100, 192, 2))


def spec(number: int) -> JobSpec:
    """A spec of everyday size; keys are spread like hashes."""
    key = JobKey(f"v1.{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}")
    media = MediaObject(
        BUCKET, REGION, f"incoming/2026/11/episode-{number:07d}.mp3", f"{number:032x}", 1_234_567
    )
    output = Output(
        BUCKET,
        REGION,
        f"stems/{number:07d}/voice.${{ext}}",
        f"stems/{number:07d}/background.${{ext}}",
    )
    return JobSpec(
        key,
        media,
        OPERATION,
        output,
        1,
        f"episode-{number}",
        origin=Origin("backlog.csv", number, "inputs[0]"),
    )


def chunks(count: int) -> Iterator[range]:
    """Numbers in portions of ``CHUNK``."""
    return (range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def print_size(path: Path, count: int) -> None:
    """Print the size of the file."""
    size = path.stat().st_size
    print(f"{'file':<44} {size / count:>9,.0f} bytes a job  {size / 1e6:,.0f} MB")


class Watch:
    """Prints a rate per second."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.spent = [0.0, 0.0, 0.0]
        self.since: tuple[float, float, float] | None = None
        self.go_on()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), time.thread_time()

    def go_on(self) -> None:
        """Count from now on."""
        self.since = self._now()

    def pause(self) -> None:
        """Do not count for a while."""
        if self.since is not None:
            self.spent = [
                spent + now - since
                for spent, now, since in zip(self.spent, self._now(), self.since, strict=True)
            ]
            self.since = None

    def stop(self, count: int, unit: str = "job") -> float:
        """Print and return the seconds that passed; print processor time for each ``unit``, too."""
        self.pause()
        took, cpu, mine = self.spent
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        cpu_us, mine_us = cpu / count * 1e6, mine / count * 1e6
        each = f"cpu {cpu_us:>9,.1f} us, this thread {mine_us:>9,.1f} us a {unit}"
        print(
            f"{self.what:<44} {count / took:>9,.0f} {unit}s/s  {took:>7.2f} s  {each}  "
            f"peak {rss:,.0f} MB",
            flush=True,
        )
        return took


def finish(job: Job) -> None:
    """End the job as most do."""
    job.state = JobState.SUCCEEDED  # the walk over the table is not what is measured
    job.files = tuple(
        StemFile(
            stem,
            f"stems/{job.id:07d}/{stem}.mp3",
            "d41d8cd98f00b204e9800998ecf8427e",
            219_263,
            True,
        )
        for stem in (Stem.VOICE, Stem.BACKGROUND)
    )
    job.finished_at, job.media_duration_s = T0 + 30, 13.69


def accept(job: Job) -> None:
    """Record that the service accepted the job."""
    job.step(Step.ACCEPT)
    job.job_id, job.queue_id, job.request_id = f"j{job.id:032x}", "p" + "1" * 32, "NjdhYTg0" * 4
    job.submitted_at = T0 + 1


def send(job: Job) -> None:
    """Record the intent."""
    job.step(Step.SEND)
    job.attempts, job.intent_at = 1, T0


async def opened(path: Path | str) -> Ledger:
    """Open the ledger and take its lease."""
    ledger = open_ledger(path)
    await ledger.acquire(Holder("bench", 1, T0))
    return ledger


async def bulk(path: Path, count: int) -> None:
    """Add, save in batches, open again, and run again over everything."""
    ledger = await opened(path)
    run = await ledger.begin_run("bench", T0, "r")
    watch = Watch("specs built (not the ledger)")
    for numbers in chunks(count):
        for number in numbers:
            spec(number)
    watch.stop(count)
    watch = Watch("add, new, specs built included")
    for numbers in chunks(count):
        await ledger.add(run, [spec(number) for number in numbers])
    watch.stop(count)
    watch = Watch("counts and next_ready_at, all planned")
    await ledger.counts(run)
    await ledger.next_ready_at(run, ())
    watch.stop(2, "call")
    watch = Watch("ready of 1000, 2000 held, all planned")
    held = {job.id for job in await ledger.ready(run, 1, "inputs[0]", 2000, (), T0)}
    for _ in range(10):
        await ledger.ready(run, 1, "inputs[0]", 1000, held, T0)
    watch.stop(10, "call")
    for what, change in (
        ("save 1: intent", send),
        ("save 2: accepted", accept),
        ("save 3: finished, with a row", finish),
    ):
        reading, saving, after = (
            Watch("in_states, 1000 a page"),
            Watch(f"{what}, batches of 500"),
            0,
        )
        saving.spent, saving.since = [0.0, 0.0, 0.0], None
        while jobs := await ledger.in_states(set(JobState) - {JobState.SUCCEEDED}, after, 1000):
            after = jobs[-1].id
            for job in jobs:
                change(job)
            reading.pause()
            saving.go_on()
            for start in range(0, len(jobs), 500):
                await ledger.save(jobs[start : start + 500])
            saving.pause()
            reading.go_on()
        reading.stop(count)
        saving.stop(count)
    await ledger.end_run(run, T0)
    await ledger.close()
    print_size(path, count)


async def reopened(path: Path, count: int) -> None:
    """Measure the waits of a nightly run on a finished ledger."""
    watch = Watch("open + acquire + begin_run, all finished")
    ledger = await opened(path)
    run = await ledger.begin_run("bench", T0 + 60, "r")
    watch.stop(1, "call")
    watch = Watch("add, all known and succeeded")
    for numbers in chunks(count):
        await ledger.add(run, [spec(number) for number in numbers])
    watch.stop(count)
    watch = Watch("counts")
    assert (await ledger.counts(run)).skipped == count  # noqa: S101  # a measurement of the wrong thing is worth nothing
    watch.stop(1, "call")
    watch, after = Watch("rows, all of the report"), 0
    while jobs := await ledger.rows(run, after):
        after = jobs[-1].row
    watch.stop(count)
    await ledger.end_run(run, T0)
    await ledger.close()


async def beside(path: Path, count: int, concurrency: int) -> None:
    """Save each job twice, one job per call, beside a loop as busy as a submit path."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    ledger = await opened(path)
    run = await ledger.begin_run("bench", T0, "r")
    jobs: list[Job] = []
    for numbers in chunks(count):
        jobs += await ledger.add(run, [spec(number) for number in numbers])

    rng = random.Random(1)  # noqa: S311  # not for secrets

    def work() -> None:
        """About the cost of one signed POST on the loop."""
        for _ in range(4):
            near.send(b"x" * 600)
            far.recv(1000)
            sum(range(1500))

    async def drive(waiting: Iterator[Job], *, durable: bool) -> None:
        for job in waiting:
            send(job)
            if durable:
                await ledger.save([job])
            work()
            # Answers of a service are spread in time; otherwise all jobs wait for one group.
            await asyncio.sleep(rng.uniform(0.005, 0.03))  # noqa: TID251  # this is the clock that is measured
            accept(job)
            if durable:
                await ledger.save([job])

    async def round_of(part: list[Job], *, durable: bool) -> float:
        gc.collect()
        watch = Watch(
            f"submit loop, {'two saves a job' if durable else 'no ledger'}, {concurrency} at once"
        )
        waiting = iter(part)
        await asyncio.gather(
            *(loop.create_task(drive(waiting, durable=durable)) for _ in range(concurrency))
        )
        return watch.stop(len(part))

    ratios = []
    size = count // 6
    for turn in range(3):
        bare = await round_of(jobs[2 * turn * size : (2 * turn + 1) * size], durable=False)
        durable = await round_of(jobs[(2 * turn + 1) * size : (2 * turn + 2) * size], durable=True)
        ratios.append(bare / durable)
    print(f"{'with the ledger : without':<44} {' '.join(f'{ratio:.2f}' for ratio in ratios)}")
    await ledger.close()


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--concurrency", type=int, default=512)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument(
        "--postgres",
        nargs="?",
        const="",
        metavar="URL",
        help="compare SQLite with PostgreSQL: this database, or a server that is started here",
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-ledger-", dir=options.folder))
    try:
        if options.postgres is not None:
            from bench_ledger_databases import compare

            compare(folder, options.postgres, options.jobs, options.concurrency)
            return
        asyncio.run(bulk(folder / "bulk.db", options.jobs))
        asyncio.run(reopened(folder / "bulk.db", options.jobs))
        asyncio.run(beside(folder / "beside.db", 60_000, options.concurrency))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
