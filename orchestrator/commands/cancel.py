"""Cancel what is not yet running: jobs that were not sent, and jobs that wait at the service.

Jobs in doubt are left to be settled. Leftovers are jobs of earlier runs that were not sent and that
the manifest no longer names.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.commands.options import RunOptions, no_runs_text
from orchestrator.commands.resources import (
    has_manifest,
    hold_ledger,
    ledger_path,
    manifest_id,
    open_patient_store,
    service_name,
)
from orchestrator.commands.run import open_session
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.states import OPEN, JobState, Step
from orchestrator.errors import ConfigError, Rejected
from orchestrator.ledger import open_ledger
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.runner.leftovers import MANIFESTS, VisitLog

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from orchestrator.commands.options import ManifestSource
    from orchestrator.commands.run import Session
    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger
    from orchestrator.manifest import Manifest
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
    manifest = source.load()
    if not await _has_runs(manifest, ledger):
        raise ConfigError(no_runs_text(source.path))
    async with open_session(manifest, RunOptions(ledger=ledger)) as session:
        return await _cancel_open_jobs(session)


async def cancel_left(source: ManifestSource, *, ledger: str | None = None) -> dict[str, int]:
    """Cancel the leftovers of a manifest, and nothing else.

    They belong to no run, so they get no row in a report. A job that the manifest names again is
    planned again.

    Returns:
        ``left``: cancelled; ``others``: kept, because another manifest of this ledger named them
        last.

    Raises:
        OrchestratorError: If a source is faulty or cannot be read, or the ledger cannot be written.
    """
    manifest, clock = source.load(), SystemClock()
    location = ledger_path(manifest, ledger)
    async with hold_ledger(location, service_name(manifest, location), clock) as held:
        named: set[int] = set()
        if await held.in_states({JobState.PLANNED}, limit=1):
            named = await _planned_jobs(manifest, location, held)
        others = await _visits_of_others(manifest, location, held)
        after_id, done = 0, {"left": 0, "others": 0}
        while jobs := await held.in_states({JobState.PLANNED}, after_id):
            after_id = jobs[-1].id
            left = [job.id for job in jobs if job.id not in named]
            cancelled = await held.cancel_left(left, clock.now(), others)
            done["left"] += cancelled
            done["others"] += len(left) - cancelled
    return done


async def _has_runs(manifest: Manifest, ledger: str | None) -> bool:
    """Return True if there is something to cancel; nothing is made."""
    opened = open_ledger(ledger_path(manifest, ledger), read_only=True)
    try:
        return await opened.last_run() is not None
    finally:
        await opened.close()


async def _visits_of_others(manifest: Manifest, location: str, ledger: Ledger) -> Collection[int]:
    """Return the visits of other manifests that left jobs behind."""
    if (run := await ledger.last_run()) is None:
        return ()
    log = VisitLog.read(await ledger.recall(MANIFESTS))
    visits = await ledger.unseen_visits(replace(run, visit=run.visit + 1))
    ours = manifest_id(manifest, location)
    return log.of_others(visits, ours, partial(has_manifest, location))


async def _planned_jobs(manifest: Manifest, location: str, ledger: Ledger) -> set[int]:
    """Return the ids of the planned jobs that the manifest names."""
    named: set[int] = set()
    async with contextlib.AsyncExitStack() as stack:
        store = None
        if manifest.needs_listing:
            store = await stack.enter_async_context(open_patient_store(manifest, location))
        async for specs in Feed(manifest, store).specs():
            found = await ledger.find([spec.key for spec in specs])
            named.update(job.id for job in found.values() if job.state is JobState.PLANNED)
    return named


async def _cancel_open_jobs(session: Session) -> dict[str, int]:
    ports = session.ports
    done = {"unsent": 0, "remote": 0, "kept": 0}
    known = await ports.ledger.last_run()
    if known is None or not known.resumed:
        return done
    run = await ports.ledger.begin_run("", ports.clock.now(), known.report)
    report = session.report_of(run)
    after_id = 0
    try:
        while jobs := await ports.ledger.in_states(OPEN, after_id):
            after_id = jobs[-1].id
            # Leftovers belong to no run.
            of_run = [job for job in jobs if job.run_no == run.number]
            await _cancel_some(ports, of_run, done)
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
