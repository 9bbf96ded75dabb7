"""Acknowledged saves outlive the process."""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.spec import JobKey
from orchestrator.domain.states import TERMINAL, JobState
from orchestrator.ledger import open_ledger
from orchestrator.testing.builders import make_holder

if TYPE_CHECKING:
    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger

SAVER = Path(__file__).with_name("crash_saver.py")
RANK = {JobState.PLANNED: 0, JobState.SUBMITTING: 1, JobState.SUBMITTED: 2, JobState.SUCCEEDED: 3}


async def killed_after(path: Path, lines: int) -> list[bytes]:
    """Kill the saver after the given number of lines; return the saves that it had acknowledged."""
    saver = await asyncio.create_subprocess_exec(
        sys.executable, str(SAVER), str(path), stdout=asyncio.subprocess.PIPE
    )
    assert saver.stdout is not None
    lines_read = [await saver.stdout.readline() for _ in range(lines)]
    saver.kill()
    lines_read += (await saver.stdout.read()).splitlines(keepends=True)
    await saver.wait()
    return [line for line in lines_read if line.endswith(b"\n") and line != b"end\n"]


async def every_job(ledger: Ledger) -> dict[JobKey, Job]:
    jobs: list[Job] = []
    while page := await ledger.in_states(set(JobState), jobs[-1].id if jobs else 0):
        jobs += page
    return {job.spec.key: job for job in jobs}


@pytest.mark.crash
@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_by_a_kill_and_the_lease_is_free_at_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    acknowledged: dict[JobKey, tuple[JobState, int]] = {}
    for turn in range(3):
        for line in await killed_after(path, random.Random(turn).randint(1, 900)):
            key, word, number = line.decode().split()
            acknowledged[JobKey(key)] = (JobState(word), int(number))
        ledger = open_ledger(path)
        await ledger.acquire(make_holder())
        stored = await every_job(ledger)
        run = await ledger.last_run()
        assert run is not None
        rows: list[Job] = []
        while page := await ledger.rows(run, rows[-1].row if rows else 0):
            rows += page
        await ledger.close()

        for known, (state, row) in acknowledged.items():
            assert RANK[stored[known].state] >= RANK[state]
            assert row in {0, stored[known].row}
        assert [job.row for job in rows] == list(range(1, len(rows) + 1))
        assert {job.spec.key for job in rows} == {
            key for key, job in stored.items() if job.state in TERMINAL
        }
    assert acknowledged
