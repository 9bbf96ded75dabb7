"""The row of intents stays small, because it is written with every transaction."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import orjson

from orchestrator.domain.states import Step
from orchestrator.ledger import open_ledger
from orchestrator.testing.builders import make_holder, make_specs

if TYPE_CHECKING:
    from pathlib import Path

T0 = 1_795_309_200.0


async def test_intents_beyond_a_bound_move_to_the_rows_of_their_jobs(
    tmp_path: Path,
) -> None:
    ledger = open_ledger(tmp_path / "ledger.db")
    await ledger.acquire(make_holder())
    jobs = await ledger.add(await ledger.begin_run("n", T0, "r"), make_specs(2000))
    seen = []
    for start in range(0, 2000, 50):
        for job in jobs[start : start + 50]:
            job.step(Step.SEND)
            job.intent_at = T0
        await ledger.intend(jobs[start : start + 50])
        with closing(sqlite3.connect(tmp_path / "ledger.db")) as reader:
            in_one = {
                intent[0]
                for intent in orjson.loads(reader.execute("SELECT jobs FROM intents").fetchone()[0])
            }
            in_rows = {
                row[0] for row in reader.execute("SELECT id FROM jobs WHERE state = 'submitting'")
            }
        assert in_one | in_rows == {job.id for job in jobs[: start + 50]}
        assert not in_one & in_rows
        seen.append(len(in_one))
    await ledger.close()

    assert 256 < max(seen) < 600
