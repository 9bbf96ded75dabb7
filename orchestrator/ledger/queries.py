"""Questions to a ledger. Rows come as one JSON text per question (``statements.py``) and are put in order here."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, case, func, literal, or_, select

from orchestrator.domain.run import Counts, Run
from orchestrator.domain.states import TERMINAL, JobState
from orchestrator.ledger.job_rows import job_of, micros, object_hash
from orchestrator.ledger.spec_json import spec_of
from orchestrator.ledger.statements import FIND, JOB, SAME_HASH, fetch, in_one
from orchestrator.ledger.tables import IN_FLIGHT, has_row, is_in_flight, is_planned, jobs, must_wait

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import ColumnElement, Select

    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import JobKey, JobSpec
    from orchestrator.ledger.unit_of_work import UnitOfWork


def ready(
    unit: UnitOfWork,
    run: Run,
    lane: tuple[int, str],
    limit: int,
    without: Collection[int],
    now: float,
) -> list[Job]:
    """Planned jobs of one level and share whose time has come."""
    level, share = lane
    without = {*without, *unit.intents.of(unit.conn)}
    # As many more as are to be left out, from the index alone: a list of thousands of ids in the statement would cost more.
    is_due = jobs.c.not_before + 0 <= micros(
        now
    )  # "+ 0": else SQLite takes the index by instant, and sorts all that is due
    queue = (
        select(jobs.c.id, jobs.c.seq)
        .where(
            is_planned,
            jobs.c.visit == run.visit,
            jobs.c.level == level,
            jobs.c.share == share,
            is_due,
        )
        .order_by(jobs.c.seq)
        .limit(limit + len(without))
    )
    found = sorted(fetch(unit.conn.execute(in_one(queue))), key=lambda row: row[1])
    wanted = [row[0] for row in found if row[0] not in without][:limit]
    return sorted(_jobs(unit, JOB.where(jobs.c.id.in_(wanted))), key=attrgetter("seq"))


def next_ready_at(unit: UnitOfWork, run: Run, without: Collection[int]) -> float | None:
    """The earliest instant at which a planned job is ready."""
    without = {*without, *unit.intents.of(unit.conn)}
    mine = select(jobs.c.id, jobs.c.not_before).where(is_planned, jobs.c.visit == run.visit)
    # First those that need not wait, then those that must: each has an index.
    for queue in (mine.where(~must_wait), mine.where(must_wait).order_by(jobs.c.not_before)):
        found = fetch(unit.conn.execute(in_one(queue.limit(len(without) + 1))))
        due: list[int] = [row[1] for row in found if row[0] not in without]
        if due:
            return min(due) / 1_000_000
    return None


def in_states(
    unit: UnitOfWork, states: Collection[JobState], after_id: int, limit: int
) -> list[Job]:
    """Jobs in any of ``states``, by id."""
    words = [state.value for state in states]
    is_wanted: ColumnElement[bool] = jobs.c.state.in_(words)
    if is_sent := unit.intents.of(
        unit.conn
    ):  # only those who read while another process works on the ledger find any
        is_about_to_be = and_(is_planned, jobs.c.id.in_(is_sent))
        is_wanted = or_(
            and_(is_wanted, ~is_about_to_be),
            and_(is_about_to_be, literal(JobState.SUBMITTING in states)),
        )
    elif set(words) <= set(IN_FLIGHT):
        is_wanted = and_(is_wanted, is_in_flight)
    return sorted(
        _jobs(unit, JOB.where(is_wanted, jobs.c.id > after_id).order_by(jobs.c.id).limit(limit)),
        key=attrgetter("id"),
    )


def rows(unit: UnitOfWork, run: Run, after_row: int, limit: int) -> list[Job]:
    """The jobs of the report, in its order."""
    # In this order: SQLite begins at the first bound that it finds, and from row 1 on it would pass over all that is written already.
    query = (
        JOB.where(jobs.c.run_no == run.number, jobs.c.row > after_row, has_row)
        .order_by(jobs.c.row)
        .limit(limit)
    )
    return sorted(_jobs(unit, query), key=attrgetter("row"))


def find(unit: UnitOfWork, keys: Sequence[JobKey]) -> dict[JobKey, Job]:
    """The jobs with these keys."""
    conn = unit.conn
    found = [
        job_of(row)
        for result in FIND.run(conn, [(key,) for key in dict.fromkeys(keys)])
        for row in fetch(result)
    ]
    return {job.spec.key: unit.intents.shown(conn, job) for job in found}


def same_object(unit: UnitOfWork, specs: Sequence[JobSpec]) -> set[JobKey]:
    """Of these specs, the keys whose object has a job under another key."""
    hashes = dict.fromkeys(object_hash(spec.media) for spec in specs)
    keys: dict[tuple[str, str, str], set[str]] = {}
    for result in SAME_HASH.run(unit.conn, [(number,) for number in hashes]):
        for key, parsed in fetch(result):
            media = spec_of(key, parsed).media
            keys.setdefault((media.bucket, media.region, media.key), set()).add(key)
    return {
        spec.key
        for spec in specs
        if keys.get((spec.media.bucket, spec.media.region, spec.media.key), set()) - {spec.key}
    }


def counts(unit: UnitOfWork, run: Run) -> Counts:
    """Jobs of the run by state: three small indexes, not a million rows."""
    conn = unit.conn
    by_state = dict(_in_flight(unit, run))
    by_state[JobState.PLANNED] = conn.execute(
        select(func.count()).where(is_planned, jobs.c.run_no == run.number)
    ).scalar_one()
    sent = _sent(unit, run)
    by_state[JobState.PLANNED] -= sent
    by_state[JobState.SUBMITTING] = by_state.get(JobState.SUBMITTING, 0) + sent
    ended = sorted(TERMINAL)
    sums = [func.sum(case((jobs.c.state == state.value, 1), else_=0)) for state in ended]
    skipped = func.sum(case((jobs.c.state == JobState.SUCCEEDED.value, jobs.c.skipped), else_=0))
    told = conn.execute(select(skipped, *sums).where(jobs.c.run_no == run.number, has_row)).one()
    by_state |= {state: number or 0 for state, number in zip(ended, told[1:], strict=True)}
    by_state[JobState.SUCCEEDED] -= told[0] or 0
    return Counts({state: number for state, number in by_state.items() if number}, told[0] or 0)


def _in_flight(unit: UnitOfWork, run: Run) -> list[tuple[JobState, int]]:
    query = (
        select(jobs.c.state, func.count())
        .where(is_in_flight, jobs.c.run_no == run.number)
        .group_by(jobs.c.state)
    )
    return [(JobState(state), number) for state, number in unit.conn.execute(query)]


def _sent(unit: UnitOfWork, run: Run) -> int:
    """Jobs of the run whose rows say that they are planned, and that are about to be sent."""
    ids = unit.intents.of(unit.conn)
    query = select(func.count()).where(jobs.c.id.in_(ids), jobs.c.run_no == run.number)
    return unit.conn.execute(query).scalar_one() if ids else 0


def _jobs(unit: UnitOfWork, query: Select[Any]) -> list[Job]:
    return [
        unit.intents.shown(unit.conn, job_of(row))
        for row in fetch(unit.conn.execute(in_one(query)))
    ]
