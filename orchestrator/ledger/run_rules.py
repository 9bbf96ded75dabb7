"""Rules that every ledger shares: a run's name, and the admission of known jobs to it. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.job import LOST_BY_SERVICE, STEM_MISSING
from orchestrator.domain.states import TERMINAL, JobState, Step
from orchestrator.errors import LedgerMismatch

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Run
    from orchestrator.domain.spec import JobKey, JobSpec


NO_RUN = "A job cannot end outside a run: begin_run comes first."


def run_id(name: str, now: float, is_taken: Callable[[str], bool]) -> str:
    """Return ``<name>-<UTC time>``, with ``-2``, ``-3`` ... appended while that is taken."""
    first = f"{name}-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
    return next(
        known
        for known in (first if turn == 1 else f"{first}-{turn}" for turn in count(1))
        if not is_taken(known)
    )


def cannot_end(run: Run, key: str, state: str) -> LedgerMismatch:
    """Return the error of a run that is to be closed while a job is open."""
    return LedgerMismatch(
        f"Run {run.id} cannot end: job {key} is still {state}. Run again to resume."
    )


class Admission(NamedTuple):
    """Changes that the ledger must write for an admitted job.

    Attributes:
        gets_row: It ended before this run, and gets its row now.
        is_rewritten: More than its place in the run has changed.
        has_new_spec: Its spec has changed.
    """

    gets_row: bool = False
    is_rewritten: bool = False
    has_new_spec: bool = False


def admit(job: Job, offered: JobSpec, run: Run, retry: Collection[JobState]) -> Admission:
    """Make a known job part of ``run``.

    Args:
        job: The job as the ledger holds it; changed here.
        offered: The manifest's present spec under the same key.
        run: The run.
        retry: Terminal states to be tried again.
    """
    is_here = job.run_no == run.number
    if job.state in TERMINAL and is_here and job.row:
        return Admission()
    if not is_here:
        job.run_no, job.row, job.skipped = run.number, 0, False
    if job.state is JobState.PLANNED:
        return Admission(has_new_spec=_update_spec(job, offered))
    if job.state not in TERMINAL:
        return Admission()
    if job.state is JobState.SUCCEEDED and JobState.SUCCEEDED not in retry:
        job.skipped = True
        return Admission(gets_row=True)
    if job.state in retry or job.was_dropped:
        return _retry(job, offered)
    return Admission(gets_row=True)


def _retry(job: Job, offered: JobSpec) -> Admission:
    """Plan it again; or query it again if the service may still have it: a second one costs."""
    was_called_done = job.state is JobState.SUCCEEDED or job.code == STEM_MISSING
    if was_called_done:
        job.code = STEM_MISSING
    elif job.code != LOST_BY_SERVICE:
        job.code = job.message = ""
    job.finished_at = None
    job.not_before = 0.0
    if job.job_id and (was_called_done or job.state is JobState.UNFINISHED):
        job.step(Step.ADOPT)
        return Admission(is_rewritten=True)
    job.step(Step.RETRY)
    job.plan_again()
    return Admission(is_rewritten=True, has_new_spec=_update_spec(job, offered))


def _update_spec(job: Job, offered: JobSpec) -> bool:
    """Take from the manifest all that is not part of the identity; return True if it changed."""
    updated = replace(
        job.spec,
        level=offered.level,
        user_data=offered.user_data,
        queue_id=offered.queue_id,
        callback=offered.callback,
        group=offered.group,
        origin=offered.origin,
    )
    if updated == job.spec:
        return False
    job.spec = updated
    return True


def under_other_keys(
    specs: Sequence[JobSpec], known: Iterable[JobSpec]
) -> dict[JobKey, list[JobSpec]]:
    """Return the specs whose object is known under other keys, each with those jobs by key."""
    by_object: dict[tuple[str, str, str], dict[JobKey, JobSpec]] = {}
    for spec in known:
        by_object.setdefault(_object(spec), {})[spec.key] = spec
    found: dict[JobKey, list[JobSpec]] = {}
    for spec in specs:
        others = by_object.get(_object(spec), {})
        if others.keys() - {spec.key}:
            found[spec.key] = [others[key] for key in sorted(others) if key != spec.key]
    return found


def _object(spec: JobSpec) -> tuple[str, str, str]:
    return spec.media.bucket, spec.media.region, spec.media.key
