"""Compare ledgers in SQLite and PostgreSQL, the same work on both in one run."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench_ledger import CHUNK, T0, accept, chunks, finish, opened, send, spec
from bench_table import show

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger

sys.path.insert(0, str(Path(__file__).parent.parent))


async def measured(location: Path | str, count: int, concurrency: int) -> dict[str, float]:
    """Return the figures of one ledger."""
    ledger = await opened(location)
    run = await ledger.begin_run("bench", T0, "r")
    figures: dict[str, float] = {}
    jobs: list[Job] = []
    began_at = time.perf_counter()
    for numbers in chunks(count):
        jobs += await ledger.add(run, [spec(number) for number in numbers])
    figures["add new jobs, 1,000 a call: jobs/s"] = count / (time.perf_counter() - began_at)
    figures["one intent and one answer, alone: ms"] = await alone(ledger, jobs[:200])
    figures[f"intent and answer, {concurrency} at once: jobs/s"] = await together(
        ledger, jobs[200:], concurrency
    )
    began_at = time.perf_counter()
    for start in range(0, count, 500):
        part = jobs[start : start + 500]
        for job in part:
            finish(job)
        await ledger.save(part)
    figures["save finished jobs, 500 a call: jobs/s"] = count / (time.perf_counter() - began_at)
    figures["read 1,000 rows of the report: ms"] = await call_ms(lambda: ledger.rows(run, 0, CHUNK))
    figures["counts: ms"] = await call_ms(lambda: ledger.counts(run))
    await ledger.end_run(run, T0)
    run = await ledger.begin_run("bench", T0 + 60, "r")
    began_at = time.perf_counter()
    for numbers in chunks(count):
        await ledger.add(run, [spec(number) for number in numbers])
    figures["run again, all known: jobs/s"] = count / (time.perf_counter() - began_at)
    await ledger.close()
    return figures


async def alone(ledger: Ledger, jobs: list[Job]) -> float:
    """Return the median time of an intent and an answer that wait for nothing else."""
    spent = []
    for job in jobs:
        began_at = time.perf_counter()
        send(job)
        await ledger.intend([job])
        accept(job)
        await ledger.save([job])
        spent.append(time.perf_counter() - began_at)
    return median(spent) * 1000


async def together(ledger: Ledger, jobs: list[Job], concurrency: int) -> float:
    """Return how many jobs per second are recorded twice, one job per call."""
    waiting = iter(jobs)

    async def drive() -> None:
        for job in waiting:
            send(job)
            await ledger.intend([job])
            accept(job)
            await ledger.save([job])

    began_at = time.perf_counter()
    await asyncio.gather(*(drive() for _ in range(concurrency)))
    return len(jobs) / (time.perf_counter() - began_at)


async def call_ms(call: Callable[[], object]) -> float:
    """Return the median time of a question."""
    spent = []
    for _ in range(10):
        began_at = time.perf_counter()
        await call()  # type: ignore[misc]
        spent.append(time.perf_counter() - began_at)
    return median(spent) * 1000


def compare(folder: Path, address: str, count: int, concurrency: int) -> None:
    """Measure both, and print their figures side by side.

    Args:
        folder: Folder of the SQLite file.
        address: A PostgreSQL database; empty to start a server here, which syncs its commits.
        count: Number of jobs.
        concurrency: Number of callers at a time.
    """
    with ExitStack() as stack:
        if not address:
            from tests.postgres_server import PostgresServer

            server = stack.enter_context(PostgresServer(durable=True))
            address = server.url(name="bench")
        sqlite = asyncio.run(measured(folder / "ledger.db", count, concurrency))
        postgres = asyncio.run(measured(address, count, concurrency))
    rows = [
        (what, f"{one:,.1f}", f"{postgres[what]:,.1f}", f"{postgres[what] / one:.2f}")
        for what, one in sqlite.items()
    ]
    head = (f"{count:,} jobs", "SQLite", "PostgreSQL", "ratio")
    show("Ledgers", head, rows, ["Both sync every commit; the server is on this machine."])
