"""Cancel what is not yet running: jobs that were not sent, and jobs that wait at the service. Jobs in doubt are left to be settled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.states import OPEN, JobState, Step
from orchestrator.errors import Rejected
from orchestrator.reporting.report_file import ReportFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.job import Job
    from orchestrator.runner.ports import Parts

_UNSENT = "Cancelled before it was sent."
_REMOTE = "Cancelled at the service before it was begun."


async def cancel_open_jobs(parts: Parts) -> dict[str, int]:
    """Cancel the open jobs of the ledger's open run, and write their rows.

    The run stays open: the next ``run`` closes it, or goes on with what could not be cancelled.

    Returns:
        ``unsent``: cancelled before they were sent; ``remote``: cancelled at the service; ``kept``: running, ended or in doubt.

    Raises:
        OrchestratorError: If the service cannot be reached, or the ledger cannot be written; what was cancelled stays cancelled.
    """
    done = {"unsent": 0, "remote": 0, "kept": 0}
    known = await parts.ledger.last_run()
    if known is None or not known.resumed:
        return done
    run = await parts.ledger.begin_run("", parts.clock.now(), known.report)
    report = ReportFile(Path(run.report), run, parts.ledger)
    after_id = 0
    try:
        while jobs := await parts.ledger.in_states(OPEN, after_id):
            after_id = jobs[-1].id
            await _cancel_some(parts, jobs, done)
    finally:
        await report.open()
        report.close()
    return done


async def _cancel_some(parts: Parts, jobs: Sequence[Job], done: dict[str, int]) -> None:
    """Cancel these, count how, and record them, also if the service stops answering in the middle."""
    changed: list[Job] = []
    try:
        for job in jobs:
            how = await _cancel(parts, job)
            done[how] += 1
            if how != "kept":
                changed.append(job)
    finally:
        await parts.ledger.save(changed)


async def _cancel(parts: Parts, job: Job) -> str:
    """Cancel one job, if that can be done; says how."""
    if job.state is JobState.PLANNED:
        job.message = _UNSENT
    elif job.state is JobState.SUBMITTED:
        await parts.query_limiter.acquire()
        try:
            await parts.service.cancel(job.spec.media.place, job.job_id)
        except Rejected:
            return "kept"
        job.message = _REMOTE
    else:
        return "kept"
    how = "unsent" if job.state is JobState.PLANNED else "remote"
    job.step(Step.CANCEL)
    job.code = "Cancelled"
    job.finished_at = parts.clock.now()
    return how
