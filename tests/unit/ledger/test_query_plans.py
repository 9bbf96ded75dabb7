"""No everyday question reads a whole table: a million jobs answer like a thousand."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import pytest

from orchestrator.domain.spec import Place
from orchestrator.domain.states import REMOTE, JobState, Step
from orchestrator.ledger import open_ledger
from orchestrator.ledger.sqlite import SqliteDatabase
from orchestrator.testing.builders import make_holder, make_specs
from tests.connection import connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from orchestrator.domain.run import Run
    from orchestrator.ledger.sql_ledger import SqlLedger
    from orchestrator.ledger.unit_of_work import UnitOfWork

    Call = Callable[[SqlLedger, Run], Awaitable[object]]

T0 = 1_700_000_000.0
CLOSED = [Place("b-1", "ap-guangzhou"), Place("b-2", "ap-guangzhou")]


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[SqlLedger]:
    ledger = cast("SqlLedger", open_ledger(tmp_path / "ledger.db"))
    await ledger.acquire(make_holder())
    yield ledger
    await ledger.close()


async def plans(ledger: SqlLedger, run: Run, call: Call) -> list[str]:
    """Return SQLite's query plans for ``call``, a line per table."""
    asked: list[tuple[str, Any]] = []
    ask = SqliteDatabase._run

    def note(db: SqliteDatabase, name: str, values: Any) -> Any:
        asked.append((db.queries[name], values))
        return ask(db, name, values)

    def explain(unit: UnitOfWork) -> list[str]:
        return [
            row[3]
            for text, values in asked
            if not text.startswith("INSERT")
            for row in connection(unit).execute(f"EXPLAIN QUERY PLAN {text}", values)
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteDatabase, "_run", note)
        await call(ledger, run)
    return await ledger._writer.submit(explain, writes=False)


async def save(ledger: SqlLedger, run: Run) -> None:
    jobs = await ledger.find([spec.key for spec in make_specs(5)])
    for job in jobs.values():
        job.step(Step.SEND)
    await ledger.save(list(jobs.values()))


async def intend(ledger: SqlLedger, run: Run) -> None:
    jobs = await ledger.ready(run, 0, "inputs[0]", 9, (), T0)
    for job in jobs:
        job.step(Step.SEND)
        job.intent_at = T0
    await ledger.intend(jobs)


CALLS: dict[str, tuple[Call, set[str]]] = {
    "ready": (
        lambda ledger, run: ledger.ready(run, 0, "inputs[0]", 9, {1, 2}, T0),
        {"COVERING INDEX jobs_ready (visit=? AND level=? AND share=?)"},
    ),
    "next_ready_at": (
        lambda ledger, run: ledger.next_ready_at(run, set(range(1001))),
        {
            "COVERING INDEX jobs_ready (visit=?)",
            "COVERING INDEX jobs_due (visit=? AND not_before>?)",
        },
    ),
    "ready, places closed": (
        lambda ledger, run: ledger.ready(run, 0, "inputs[0]", 9, {1, 2}, T0, CLOSED),
        {
            "COVERING INDEX jobs_ready (visit=? AND level=? AND share=?)",
            "SEARCH specs USING INTEGER PRIMARY KEY (rowid=?)",
        },
    ),
    "next_ready_at, places closed": (
        lambda ledger, run: ledger.next_ready_at(run, set(range(1001)), CLOSED),
        {
            "COVERING INDEX jobs_ready (visit=?)",
            "COVERING INDEX jobs_due (visit=? AND not_before>?)",
            "SEARCH specs USING INTEGER PRIMARY KEY (rowid=?)",
        },
    ),
    "in_flight": (lambda ledger, _: ledger.in_states(REMOTE), {"jobs_in_flight"}),
    "in_states": (
        lambda ledger, _: ledger.in_states({JobState.FAILED, JobState.PLANNED}, 3),
        set(),
    ),
    "rows": (lambda ledger, run: ledger.rows(run, 5), {"jobs_by_row"}),
    "counts": (
        lambda ledger, run: ledger.counts(run),
        {
            "COVERING INDEX jobs_ready",
            "COVERING INDEX jobs_in_flight",
            "COVERING INDEX jobs_by_row",
        },
    ),
    "begin_run": (lambda ledger, _: ledger.begin_run("n", T0, "r"), {"jobs_by_row"}),
    "unseen_visits": (
        lambda ledger, run: ledger.unseen_visits(run),
        {"COVERING INDEX jobs_ready (visit<?)"},
    ),
    "leave_unseen": (lambda ledger, run: ledger.leave_unseen(run), {"(visit<?)"}),
    "take_unseen": (
        lambda ledger, run: ledger.take_unseen(replace(run, visit=run.visit + 1), [run.visit]),
        {"COVERING INDEX jobs_ready (visit=?)"},
    ),
    "cancel_left": (
        lambda ledger, _: ledger.cancel_left([1, 2], T0),
        {"SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"},
    ),
    "drop_unseen": (lambda ledger, run: ledger.drop_unseen(run, T0), {"(visit<?)"}),
    "find": (
        lambda ledger, _: ledger.find([spec.key for spec in make_specs(5)]),
        {"sqlite_autoindex_jobs_1"},
    ),
    "add": (lambda ledger, run: ledger.add(run, make_specs(5, 998)), {"sqlite_autoindex_jobs_1"}),
    "same_object": (lambda ledger, _: ledger.same_object(make_specs(5)), {"specs_by_object"}),
    "save": (save, set()),
    "intend": (intend, {"SEARCH jobs USING INTEGER PRIMARY KEY (rowid=?)"}),
}


@pytest.mark.parametrize("name", CALLS)
async def test_every_question_finds_its_rows_by_an_index(ledger: SqlLedger, name: str) -> None:
    call, indexes = CALLS[name]
    run = await ledger.begin_run("n", T0, "r")
    await ledger.add(run, make_specs(1000))
    found = await plans(ledger, run, call)

    assert found
    assert [
        line
        for line in found
        if line.startswith(("SCAN jobs", "SCAN specs")) and "INDEX" not in line
    ] == []
    assert {index for index in indexes if any(index in line for line in found)} == indexes


async def test_a_run_is_ended_without_reading_its_jobs(ledger: SqlLedger) -> None:
    run = await ledger.begin_run("n", T0, "r")
    found = await plans(ledger, run, lambda ledger, run: ledger.end_run(run, T0))

    assert found
    assert [line for line in found if line.startswith("SCAN jobs") and "INDEX" not in line] == []


async def steps(ledger: SqlLedger, call: Callable[[], Awaitable[object]]) -> int:
    """Return about how many hundred steps SQLite takes for a call."""
    taken: list[None] = []

    def count(unit: UnitOfWork) -> None:
        connection(unit).set_progress_handler(lambda: taken.append(None), 100)

    await ledger._writer.submit(count, writes=False)
    await call()
    return len(taken)


async def test_the_last_rows_of_a_report_cost_no_more_than_the_first(
    ledger: SqlLedger,
) -> None:
    """Otherwise the cost of catching up grows with the square of the number of rows."""
    run = await ledger.begin_run("n", T0, "r")
    jobs = await ledger.add(run, make_specs(3000))
    for step in (Step.SEND, Step.REJECT):
        for job in jobs:
            job.step(step)
        await ledger.save(jobs)
    await ledger.rows(run, 0, 5)  # so that neither call below is the first

    assert (
        await steps(ledger, lambda: ledger.rows(run, 2990, 5))
        <= 2 * await steps(ledger, lambda: ledger.rows(run, 0, 5)) + 2
    )
