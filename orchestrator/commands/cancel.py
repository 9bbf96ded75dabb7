"""Cancel what is not yet running: jobs that were not sent, and jobs that wait at the service.

Jobs in doubt are left to be settled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.commands.options import RunOptions
from orchestrator.commands.run import open_session
from orchestrator.domain.states import OPEN, JobState, Step
from orchestrator.errors import Rejected
from orchestrator.reporting.report_file import ReportFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.commands.options import ManifestSource
    from orchestrator.domain.job import Job
    from orchestrator.runner.ports import Ports


async def cancel(source: ManifestSource, *, ledger: str | None = None) -> dict[str, int]:
    """Cancel the open jobs of a manifest's open run, and write their rows.

    The run stays open: the next ``run`` closes it, or resumes what could not be cancelled.

    Returns:
        ``unsent``: cancelled before they were sent; ``remote``: cancelled at the service; ``kept``:
        running, ended or in doubt.

    Raises:
        OrchestratorError: If the service cannot be reached, or the ledger cannot be written. What
            was cancelled stays cancelled.
    """
    async with open_session(source.load(), RunOptions(ledger=ledger)) as session:
        return await _cancel_open_jobs(session.ports)


async def _cancel_open_jobs(ports: Ports) -> dict[str, int]:
    done = {"unsent": 0, "remote": 0, "kept": 0}
    known = await ports.ledger.last_run()
    if known is None or not known.resumed:
        return done
    run = await ports.ledger.begin_run("", ports.clock.now(), known.report)
    report = ReportFile(Path(run.report), run, ports.ledger)
    after_id = 0
    try:
        while jobs := await ports.ledger.in_states(OPEN, after_id):
            after_id = jobs[-1].id
            await _cancel_some(ports, jobs, done)
    finally:
        await report.open()
        report.close()
    return done


async def _cancel_some(ports: Ports, jobs: Sequence[Job], done: dict[str, int]) -> None:
    """Cancel these and record them, also if the service stops answering in the middle."""
    changed: list[Job] = []
    try:
        for job in jobs:
            how = await _cancel_one(ports, job)
            done[how] += 1
            if how != "kept":
                changed.append(job)
    finally:
        await ports.ledger.save(changed)


async def _cancel_one(ports: Ports, job: Job) -> str:
    """Cancel one job if possible; return ``unsent``, ``remote`` or ``kept``."""
    if job.state is JobState.PLANNED:
        how, job.message = "unsent", "Cancelled before it was sent."
    elif job.state is JobState.SUBMITTED:
        await ports.query_limiter.acquire()
        try:
            await ports.service.cancel(job.spec.media.place, job.job_id)
        except Rejected:
            return "kept"
        how, job.message = "remote", "Cancelled at the service before it started."
    else:
        return "kept"
    job.step(Step.CANCEL)
    job.code = "Cancelled"
    job.finished_at = ports.clock.now()
    return how
