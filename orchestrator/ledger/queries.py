"""The ledger's questions. Each finds ids by an index; the jobs are read in a second step."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from orchestrator.domain.run import Counts, Run, Usage
from orchestrator.domain.states import REMOTE, TERMINAL, JobState
from orchestrator.ledger.job_rows import job_of, micros, object_hash
from orchestrator.ledger.run_rules import under_other_keys
from orchestrator.ledger.spec_json import spec_of, spec_start

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import JobKey, JobSpec, Place
    from orchestrator.ledger.unit_of_work import UnitOfWork


IN_FLIGHT = tuple(sorted({JobState.SUBMITTING, JobState.IN_DOUBT, *REMOTE}))
"""States that have an index of their own."""

ELSEWHERE = {
    "ready_ids": "ready_ids_elsewhere",
    "ready_at_once": "ready_at_once_elsewhere",
    "ready_later": "ready_later_elsewhere",
}
"""Questions, and their variants that leave places out."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Planned jobs that the caller does not want.

    Attributes:
        ids: Jobs that it holds already.
        places: Places of media objects whose jobs may not be sent now.
    """

    ids: frozenset[int]
    places: frozenset[Place]

    def read(self, unit: UnitOfWork, query: str, **values: int | str) -> list[Any]:
        """Ask ``query``, or its variant that leaves the places out.

        The variant reads specs as well, so it is asked only if there are such places.
        """
        if not self.places:
            return unit.db.read(query, **values)
        starts = [spec_start(place) for place in sorted(self.places)]
        return unit.db.read(ELSEWHERE[query], closed=starts, **values)


def ready(
    unit: UnitOfWork,
    run: Run,
    lane: tuple[int, str],
    limit: int,
    left_out: LeftOut,
    now: float,
) -> list[Job]:
    """Return planned jobs of one level and share that may start now, by ``seq``."""
    level, share = lane
    held = left_out.ids | unit.intents.open.keys()
    # Ask for as many more as are held: excluding thousands of ids in the statement costs more.
    found = left_out.read(
        unit,
        "ready_ids",
        visit=run.visit,
        level=level,
        share=share,
        now=micros(now),
        limit=limit + len(held),
    )
    in_order = sorted((seq, job_id) for job_id, seq in found)
    wanted = [job_id for _, job_id in in_order if job_id not in held][:limit]
    return sorted(jobs_of(unit, wanted), key=attrgetter("seq"))


def next_ready_at(unit: UnitOfWork, run: Run, left_out: LeftOut) -> float | None:
    """Return the earliest instant at which a planned job may start, or None."""
    held = left_out.ids | unit.intents.open.keys()
    for query in ("ready_at_once", "ready_later"):  # each has an index of its own
        found = left_out.read(unit, query, visit=run.visit, limit=len(held) + 1)
        instants = [instant for job_id, instant in found if job_id not in held]
        if instants:
            return float(min(instants) / 1_000_000)
    return None


def in_states(
    unit: UnitOfWork, states: Collection[JobState], after_id: int, limit: int
) -> list[Job]:
    """Return jobs in any of ``states``, by id."""
    words = [state.value for state in states]
    intended = unit.intents.open
    if not intended and set(words) <= set(IN_FLIGHT):
        ids = unit.db.read("ids_in_flight", states=words, after_id=after_id, limit=limit)
    else:
        ids = unit.db.read(
            "ids_in_states", states=words, intended=intended, after_id=after_id, limit=limit
        )
    return sorted(jobs_of(unit, ids), key=attrgetter("id"))


def rows(unit: UnitOfWork, run: Run, after_row: int, limit: int) -> list[Job]:
    """Return the jobs of the report, in its order."""
    ids = unit.db.read("reported_ids", run=run.number, after_row=after_row, limit=limit)
    return sorted(jobs_of(unit, ids), key=attrgetter("row"))


def find(unit: UnitOfWork, keys: Sequence[JobKey]) -> dict[JobKey, Job]:
    """Return the jobs with these keys, in their order."""
    ids = unit.db.read("ids_by_key", keys=dict.fromkeys(keys))
    found = {job.spec.key: job for job in jobs_of(unit, ids)}
    return {key: found[key] for key in keys if key in found}


def same_object(unit: UnitOfWork, specs: Sequence[JobSpec]) -> dict[JobKey, list[JobSpec]]:
    """Return the specs whose object has jobs under other keys, each with those jobs."""
    hashes = dict.fromkeys(object_hash(spec.media) for spec in specs)
    found = unit.db.read("same_hash", hashes=hashes)
    return under_other_keys(specs, [spec_of(key, parsed) for key, parsed in found])


def counts(unit: UnitOfWork, run: Run) -> Counts:
    """Return the number of jobs of the run by state."""
    (planned, left), in_flight, ended, intended = unit.db.read(
        "counts", run=run.number, intended=unit.intents.open
    )
    by_state = {JobState(state): number for state, number in in_flight}
    by_state[JobState.PLANNED] = planned - intended
    by_state[JobState.SUBMITTING] = by_state.get(JobState.SUBMITTING, 0) + intended
    by_state |= {state: ended[state] for state in TERMINAL}
    by_state = {state: number for state, number in by_state.items() if number}
    return Counts(by_state, ended["skipped"], left)


def usage(unit: UnitOfWork, run: Run) -> list[Usage]:
    """Return sums over the ended jobs of the run without the skipped ones."""
    found = unit.db.read("usage", run=run.number)
    return [Usage(level, source, JobState(state), *rest) for level, source, state, *rest in found]


def unseen_visits(unit: UnitOfWork, run: Run) -> list[int]:
    """Return the visits of the planned jobs that this visit has not seen, in order."""
    found: list[int] = unit.db.read("unseen_visits", visit=run.visit)
    return sorted(found)


def jobs_of(unit: UnitOfWork, ids: Collection[int]) -> list[Job]:
    """Return the jobs with these ids, in no order."""
    return [unit.intents.shown(job_of(row)) for row in unit.db.read("jobs", ids=ids)] if ids else []
