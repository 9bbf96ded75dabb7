"""What a run would do, told before anything is sent: the manifest against the ledger, and if asked for against the bucket."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.commands.resources import ledger_path, open_store
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.states import OPEN, JobState
from orchestrator.ledger import open_ledger
from orchestrator.live.sinks import Sinks
from orchestrator.manifest.planning.explain import explain
from orchestrator.manifest.planning.forecast import Forecast
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.runner.patient_store import LISTING_TRIES, PatientStore
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.verifier import lost_stems

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from orchestrator.domain.ports import Ledger, ObjectStore
    from orchestrator.domain.spec import JobKey, JobSpec
    from orchestrator.manifest import Manifest
    from orchestrator.manifest.planning.explain import ExplainedJob
    from orchestrator.manifest.sources.selection import Selection


@dataclass(slots=True)
class Preview:
    """What a run would do.

    Attributes:
        forecast: Jobs, calls, minutes, cost, time.
        lost: Objects that were done and whose stems are gone, if that was looked at.
    """

    forecast: Forecast
    lost: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def _opened(
    manifest: Manifest, location: str | None, *, with_store: bool
) -> AsyncIterator[tuple[Ledger, ObjectStore | None]]:
    """The ledger to read, and the storage if it is needed."""
    location = ledger_path(manifest, location)
    ledger = open_ledger(location, read_only=True)
    try:
        if not with_store:
            yield ledger, None
            return
        clock, settings = SystemClock(), RunnerSettings()
        async with open_store(manifest, location, clock) as store:
            rng = random.Random()  # noqa: S311 - jitter, not a secret
            tries = LISTING_TRIES
            yield ledger, PatientStore(store, clock, rng, Sinks(), settings, tries, tries)
    finally:
        await ledger.close()


async def preview(
    manifest: Manifest,
    *,
    ledger: str | None = None,
    selection: Selection | None = None,
    retry: Collection[JobState] = (),
    verify_done: bool = False,
    told: Callable[[int], None] = lambda _: None,
) -> Preview:
    """Compare a manifest with its ledger; nothing is sent and nothing is written.

    Args:
        manifest: The manifest.
        ledger: Path of its ledger, if not the usual one.
        selection: The part of it to look at.
        retry: States that would be asked for again.
        verify_done: Look whether the stems of done jobs are still there.
        told: Called now and then with the number of jobs that were read so far.

    Raises:
        OrchestratorError: If a source is faulty, or the ledger or a bucket cannot be read.
    """
    found = Preview(Forecast(manifest, retry))
    async with _opened(manifest, ledger, with_store=manifest.needs_listing or verify_done) as (
        opened,
        store,
    ):
        feed = Feed(manifest, store, selection)
        still_open = seen = 0
        async for specs in feed.specs():
            seen += len(specs)
            told(seen)
            lost: Collection[JobKey] = (
                await lost_stems(opened, store, specs) if verify_done and store else ()
            )
            still_open += await _add(found, opened, specs, lost)
        found.forecast.duplicates = feed.duplicates
        run = await opened.last_run()
        if run is not None and run.resumed and (selection is None or selection.is_whole):
            found.forecast.orphaned = max((await opened.counts(run)).of(*OPEN) - still_open, 0)
    return found


async def _add(
    found: Preview, ledger: Ledger, specs: list[JobSpec], lost: Collection[JobKey]
) -> int:
    """Count one batch; gives how many of its jobs are open in the ledger."""
    known = await ledger.find([spec.key for spec in specs])
    changed = await ledger.same_object([spec for spec in specs if spec.key not in known])
    still_open = 0
    for spec in specs:
        job = known.get(spec.key)
        if spec.key in lost:
            found.lost.append(spec.media.key)
            found.forecast.add(spec, job, lost=True)
        else:
            found.forecast.add(spec, job, changed=spec.key in changed)
        still_open += job is not None and job.state in OPEN
    return still_open


async def explain_object(
    manifest: Manifest, name: str, *, ledger: str | None = None
) -> list[ExplainedJob]:
    """The jobs of one object of the manifest, each value with its origin; empty if no source names it.

    Raises:
        OrchestratorError: If a source is faulty, or a bucket cannot be read.
    """
    async with _opened(manifest, ledger, with_store=manifest.needs_listing) as (_, store):
        jobs: list[ExplainedJob] = []
        async for batch in Feed(manifest, store).items():
            jobs += [
                job for item in batch if item.media.key == name for job in explain(manifest, item)
            ]
        return jobs
