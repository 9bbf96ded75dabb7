"""Runs of a ledger: begin, go on, end, and drop what left the manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, func, insert, select, update

from orchestrator.domain.run import Run
from orchestrator.domain.states import JobState
from orchestrator.errors import LedgerMismatch
from orchestrator.ledger.job_rows import micros, to_microsecond
from orchestrator.ledger.run_rules import LEFT, run_id
from orchestrator.ledger.tables import facts, is_in_flight, is_planned, jobs, runs

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row

    from orchestrator.ledger.unit_of_work import UnitOfWork


def begin(unit: UnitOfWork, name: str, now: float, report: str) -> Run:
    """Continue the open run, or begin a new one."""
    conn = unit.conn
    visit: int = conn.execute(select(facts.c.value).where(facts.c.name == "visit")).scalar_one() + 1
    conn.execute(update(facts).where(facts.c.name == "visit").values(value=visit))
    run = _last(conn, visit)
    if run is None or not run.resumed:
        run = _new(conn, run, name, now, report, visit)
    unit.follow(run)
    return run


def _new(
    conn: Connection, before: Run | None, name: str, now: float, report: str, visit: int
) -> Run:
    def is_taken(known: str) -> bool:
        return conn.execute(select(runs.c.number).where(runs.c.id == known)).first() is not None

    known = run_id(name, now, is_taken)
    run = Run(
        known,
        before.number + 1 if before else 1,
        to_microsecond(now),
        report.replace("{run}", known),
        visit=visit,
    )
    conn.execute(
        insert(runs).values(number=run.number, id=run.id, opened_at=micros(now), report=run.report)
    )
    return run


def last(unit: UnitOfWork) -> Run | None:
    """The open run, else the one that ended last."""
    visit = unit.conn.execute(select(facts.c.value).where(facts.c.name == "visit")).scalar_one()
    return _last(unit.conn, visit)


def _last(conn: Connection, visit: int) -> Run | None:
    row: Row[Any] | None = conn.execute(
        select(runs).order_by(runs.c.number.desc()).limit(1)
    ).first()
    if row is None:
        return None
    return Run(
        row.id,
        row.number,
        row.opened_at / 1_000_000,
        row.report,
        resumed=row.closed_at is None,
        visit=visit,
    )


def end(unit: UnitOfWork, run: Run, now: float) -> None:
    """Close the run."""
    unit.intents.settle(unit.conn)  # so that what refuses it is told with its true state
    open_jobs = select(jobs.c.key, jobs.c.state).where(jobs.c.run_no == run.number)
    for is_open in (is_planned, is_in_flight):
        if found := unit.conn.execute(open_jobs.where(is_open).limit(1)).first():
            raise LedgerMismatch(
                f"Run {run.id} cannot end: job {found.key} is still {found.state}. Run again to go on."
            )
    unit.conn.execute(update(runs).where(runs.c.number == run.number).values(closed_at=micros(now)))
    if unit.numbers.run == run.number:
        unit.numbers.run = 0


def drop_unseen(unit: UnitOfWork, run: Run, now: float) -> int:
    """Cancel what is planned and was not seen by this visit; two statements, for a manifest may lose a million lines."""
    unit.intents.settle(unit.conn)
    is_unseen = and_(is_planned, jobs.c.visit < run.visit)  # no job was seen by a later visit
    # "+ 0" keeps SQLite from walking through the whole report, or all jobs by id, instead of the few that are planned.
    is_told = and_(jobs.c.run_no + 0 == run.number, jobs.c.row > 0)
    values = {
        "state": JobState.CANCELLED.value,
        "message": LEFT,
        "finished_at": micros(now),
        "skipped": 0,
    }
    before = unit.changed()
    unit.conn.execute(update(jobs).where(is_unseen, is_told).values(values))
    kept = unit.changed()
    turn = func.row_number().over(order_by=jobs.c.id + 0).label("turn")
    unseen = select(jobs.c.id, turn).where(is_unseen).subquery("unseen")
    place = {"run_no": run.number, "row": unseen.c.turn + unit.numbers.row}
    unit.conn.execute(update(jobs).where(jobs.c.id == unseen.c.id).values(values | place))
    unit.numbers.row += unit.changed() - kept
    return unit.changed() - before
