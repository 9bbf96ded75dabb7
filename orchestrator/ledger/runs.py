"""Runs of a ledger: begin or resume one, add specs to it, end it."""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.job import LEFT, Job
from orchestrator.domain.run import Run
from orchestrator.errors import LedgerMismatch
from orchestrator.ledger.job_rows import (
    KEY,
    SPEC,
    VISIT,
    job_of,
    micros,
    object_hash,
    snapshot,
    to_microsecond,
)
from orchestrator.ledger.queries import jobs_of, unseen_visits
from orchestrator.ledger.run_rules import admit, cannot_end, run_id
from orchestrator.ledger.spec_json import encode_spec

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.domain.spec import JobKey, JobSpec
    from orchestrator.domain.states import JobState
    from orchestrator.ledger.unit_of_work import UnitOfWork


def _changed_below() -> LedgerMismatch:
    return LedgerMismatch(
        "A job that was read a moment ago is not in the ledger. Another program changed it, or "
        "this is a defect of orchestrator. Nothing was written; run again to resume."
    )


def begin(unit: UnitOfWork, name: str, now: float, report: str) -> Run:
    """Resume the open run, or begin a new one."""
    unit.db.change("begin_visit")
    run = last(unit)
    if run is None or not run.resumed:
        known = run_id(name, now, lambda known: bool(unit.db.read("run_numbers", id=known)))
        [visit] = unit.db.read("visit")
        run = Run(
            known,
            run.number + 1 if run else 1,
            to_microsecond(now),
            report.replace("{run}", known),
            visit=visit,
        )
        unit.db.change(
            "insert_run", number=run.number, id=known, opened_at=micros(now), report=run.report
        )
    unit.follow(run)
    return run


def last(unit: UnitOfWork) -> Run | None:
    """Return the open run, else the one that ended last."""
    return next(iter(latest(unit, 1)), None)


def latest(unit: UnitOfWork, limit: int) -> list[Run]:
    """Return up to ``limit`` runs, the latest first."""
    [visit] = unit.db.read("visit")
    found = [
        Run(
            known,
            number,
            opened_at / 1_000_000,
            report,
            resumed=closed_at is None,
            visit=visit,
            closed_at=None if closed_at is None else closed_at / 1_000_000,
        )
        for known, number, opened_at, report, closed_at in unit.db.read("latest_runs", limit=limit)
    ]
    return sorted(found, key=attrgetter("number"), reverse=True)


def end(unit: UnitOfWork, run: Run, now: float) -> None:
    """Close the run.

    Raises:
        LedgerMismatch: A job of the run is still open.
    """
    unit.intents.settle()  # so that the error shows the true state of the job
    for query in ("planned_job", "job_in_flight"):  # each has an index of its own
        for key, state in unit.db.read(query, run=run.number):
            raise cannot_end(run, key, state)
    unit.db.change("end_run", run=run.number, closed_at=micros(now))
    if unit.numbers.run == run.number:
        unit.numbers.run = 0


# --- planned jobs that this start of the run has not seen; a manifest may lose a million lines


def leave_unseen(unit: UnitOfWork, run: Run) -> None:
    """Take them out of the run, as they are."""
    unit.intents.settle()
    unit.db.change("leave_unseen", run=run.number, visit=run.visit)


def take_unseen(unit: UnitOfWork, run: Run, visits: Sequence[int], limit: int) -> list[Job]:
    """Make up to ``limit`` of them part of the run."""
    unit.intents.settle()
    taken: list[Job] = []
    for visit in sorted(visits):
        if visit < run.visit and len(taken) < limit:
            ids = unit.db.read("unseen_ids", visit=visit, limit=limit - len(taken))
            taken += sorted(jobs_of(unit, ids), key=attrgetter("spec.level", "spec.share", "seq"))
    for job in taken:
        unit.numbers.seq += 1
        job.seq = unit.numbers.seq
        if job.run_no != run.number:
            job.run_no, job.row = run.number, 0
        job.skipped = False
    places = [(job.id, run.visit, job.seq, job.run_no, job.row, 0) for job in taken]
    unit.db.write("place_jobs", places, _changed_below)
    return taken


def cancel_left(
    unit: UnitOfWork, job_ids: Sequence[int], now: float, besides: Sequence[int]
) -> int:
    """Cancel those of these jobs that are planned, without the visits ``besides``."""
    unit.intents.settle()
    return unit.db.change(
        "cancel_left",
        ids=orjson.dumps(job_ids).decode(),
        besides=orjson.dumps(besides).decode(),
        message=LEFT,
        now=micros(now),
    )


def drop_unseen(unit: UnitOfWork, run: Run, now: float, visits: Sequence[int] | None) -> int:
    """Cancel those that were last named in one of ``visits``; return how many."""
    unit.intents.settle()
    if visits is None:
        visits = unseen_visits(unit, run)
    values: dict[str, int | str] = {
        "run": run.number,
        "visit": run.visit,
        "message": LEFT,
        "now": micros(now),
        "visits": orjson.dumps(visits).decode(),
    }
    dropped = unit.db.change("drop_reported", **values)
    with_new_rows = unit.db.change("drop_unseen", last_row=unit.numbers.row, **values)
    unit.numbers.row += with_new_rows
    return dropped + with_new_rows


# --- adding specs


@dataclass(slots=True)
class _Changes:
    """Rows to be written by ``add``."""

    jobs: list[tuple[int | str, ...]] = field(default_factory=list)
    specs: list[tuple[int | str, ...]] = field(default_factory=list)
    places: list[tuple[int, ...]] = field(default_factory=list)
    lanes: list[tuple[int | str, ...]] = field(default_factory=list)
    new_specs: list[tuple[int | str, ...]] = field(default_factory=list)
    rewritten: list[Job] = field(default_factory=list)

    def write(self, unit: UnitOfWork) -> None:
        unit.db.write("insert_jobs", self.jobs, _changed_below)
        unit.db.write("insert_specs", self.specs, _changed_below)
        unit.put(self.rewritten, [snapshot(job) for job in self.rewritten])
        unit.flush()
        unit.db.write("place_jobs", self.places, _changed_below)
        unit.db.write("set_lanes", self.lanes, _changed_below)
        unit.db.write("set_specs", self.new_specs, _changed_below)


def add(
    unit: UnitOfWork, run: Run, specs: Sequence[JobSpec], retry: Collection[JobState]
) -> list[Job]:
    """Make ``specs`` part of ``run``, in their order."""
    unit.flush()
    # The first spec of a key counts.
    encoded = {spec.key: encode_spec(spec).decode() for spec in reversed(specs)}
    known = {row[KEY]: row for row in unit.db.read("known_jobs", rows=encoded.items())}
    changes = _Changes()
    added: dict[JobKey, Job] = {}
    for spec in specs:
        if spec.key in added:
            continue
        row = known.get(spec.key)
        added[spec.key] = (
            _new(unit, run, spec, encoded[spec.key], changes)
            if row is None
            else _known(unit, run, spec, row, retry, changes)
        )
    changes.write(unit)
    return [added[spec.key] for spec in specs]


def _new(unit: UnitOfWork, run: Run, spec: JobSpec, encoded: str, changes: _Changes) -> Job:
    numbers = unit.numbers
    numbers.id += 1
    numbers.seq += 1
    place = numbers.seq, run.visit, run.number
    changes.jobs.append((numbers.id, spec.key, spec.level, spec.share, *place))
    changes.specs.append((numbers.id, object_hash(spec.media), encoded))
    return Job(numbers.id, spec, seq=numbers.seq, run_no=run.number)


def _known(
    unit: UnitOfWork,
    run: Run,
    offered: JobSpec,
    row: list[Any],
    retry: Collection[JobState],
    changes: _Changes,
) -> Job:
    job = unit.intents.shown(job_of(row, offered if row[SPEC] is None else None))
    if row[VISIT] == run.visit:
        return job
    admission = admit(job, offered, run, retry)
    unit.numbers.seq += 1
    job.seq = unit.numbers.seq
    if admission.gets_row:
        unit.give_row(job)
    if admission.is_rewritten:
        changes.rewritten.append(job)
    if admission.has_new_spec:
        changes.lanes.append((job.id, job.spec.level, job.spec.share))
        changes.new_specs.append((job.id, encode_spec(job.spec).decode()))
    skipped = 1 if job.skipped else 0
    changes.places.append((job.id, run.visit, job.seq, job.run_no, job.row, skipped))
    return job
