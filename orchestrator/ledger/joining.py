"""How specs become part of a run: new ones are planned, known ones are admitted (``run_rules.py``), many per statement."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.domain.job import Job
from orchestrator.ledger.job_rows import READ, job_of, object_hash, snapshot
from orchestrator.ledger.run_rules import admit
from orchestrator.ledger.spec_json import encode_spec
from orchestrator.ledger.statements import (
    INSERT_JOBS,
    INSERT_SPECS,
    KNOWN,
    SET_LANE,
    SET_PLACE,
    SET_SPEC,
    Rows,
    fetch,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.domain.run import Run
    from orchestrator.domain.spec import JobKey, JobSpec
    from orchestrator.domain.states import JobState
    from orchestrator.ledger.unit_of_work import UnitOfWork

_KEY = READ.index("key")
_SPEC = len(READ)
_VISIT = _SPEC + 1


@dataclass(slots=True)
class _Changes:
    """What ``add`` has to write."""

    jobs: Rows = field(default_factory=list)
    specs: Rows = field(default_factory=list)
    places: Rows = field(default_factory=list)
    lanes: Rows = field(default_factory=list)
    new_specs: Rows = field(default_factory=list)
    rewritten: list[Job] = field(default_factory=list)

    def write(self, unit: UnitOfWork) -> None:
        conn = unit.conn
        INSERT_JOBS.write(conn, self.jobs)
        INSERT_SPECS.write(conn, self.specs)
        unit.put(self.rewritten, [snapshot(job) for job in self.rewritten])
        unit.flush()
        SET_PLACE.write(conn, self.places)
        SET_LANE.write(conn, self.lanes)
        SET_SPEC.write(conn, self.new_specs)


def add(
    unit: UnitOfWork, run: Run, specs: Sequence[JobSpec], retry: Collection[JobState]
) -> list[Job]:
    """Make ``specs`` part of ``run``, in their order."""
    unit.flush()
    offered = {
        spec.key: (spec, encode_spec(spec).decode()) for spec in reversed(specs)
    }  # of a key that comes twice, the first counts
    known = _known(unit, [(key, raw) for key, (_, raw) in offered.items()])
    changes = _Changes()
    joined: dict[JobKey, Job] = {}
    for spec in specs:
        if spec.key not in joined:
            row = known.get(spec.key)
            joined[spec.key] = (
                _new(unit, run, spec, offered[spec.key][1], changes)
                if row is None
                else _old(unit, run, spec, row, retry, changes)
            )
    changes.write(unit)
    return [joined[spec.key] for spec in specs]


def _known(unit: UnitOfWork, offered: list[tuple[JobKey, str]]) -> dict[JobKey, list[Any]]:
    """The stored rows of these keys."""
    return {row[_KEY]: row for found in KNOWN.run(unit.conn, offered) for row in fetch(found)}


def _new(unit: UnitOfWork, run: Run, spec: JobSpec, raw: str, changes: _Changes) -> Job:
    numbers = unit.numbers
    numbers.id += 1
    numbers.seq += 1
    changes.jobs.append(
        (numbers.id, spec.key, spec.level, spec.share, numbers.seq, run.visit, run.number)
    )
    changes.specs.append((numbers.id, object_hash(spec.media), raw))
    return Job(numbers.id, spec, seq=numbers.seq, run_no=run.number)


def _old(
    unit: UnitOfWork,
    run: Run,
    offered: JobSpec,
    row: list[Any],
    retry: Collection[JobState],
    changes: _Changes,
) -> Job:
    job = unit.intents.shown(unit.conn, job_of(row, offered if row[_SPEC] is None else None))
    if row[_VISIT] == run.visit:
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
    changes.places.append(
        (job.id, run.visit, job.seq, job.run_no, job.row, 1 if job.skipped else 0)
    )
    return job
