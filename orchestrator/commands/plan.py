"""Plan a run: compare a manifest with its ledger, and with the bucket if asked. Sends nothing."""

from __future__ import annotations

import contextlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.commands.resources import ledger_path, open_store
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.states import OPEN
from orchestrator.ledger import open_ledger
from orchestrator.live.sinks import Sinks
from orchestrator.manifest.planning.explain import ExplainedJob, explain
from orchestrator.manifest.planning.forecast import Forecast, Standing
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.runner.patient_store import LISTING_TRIES, PatientStore
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.verifying.verifier import lost_stems

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from orchestrator.commands.options import ManifestSource, RunOptions
    from orchestrator.domain.ports import Ledger, ObjectStore
    from orchestrator.domain.spec import JobKey, JobSpec
    from orchestrator.manifest import Manifest

__all__ = ["ExplainedJob", "Preview", "Standing", "explain_object", "plan"]


@dataclass(slots=True)
class Preview:
    """Outcome of a plan.

    Attributes:
        forecast: Jobs, calls, minutes, cost, time.
        lost: Finished objects whose stems are missing, if that was checked.
    """

    forecast: Forecast
    lost: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def _opened(
    manifest: Manifest, location: str | None, *, with_store: bool
) -> AsyncIterator[tuple[Ledger, ObjectStore | None]]:
    """Open the ledger for reading, and the storage if it is needed."""
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


async def plan(
    source: ManifestSource, options: RunOptions, progress: Callable[[int], None] = lambda _: None
) -> Preview:
    """Compare a manifest with its ledger; nothing is sent or written.

    Args:
        source: The manifest.
        options: Ledger, selection, states to retry, and ``verify_done`` to look for missing stems.
        progress: Receives the number of jobs that were read, now and then.

    Raises:
        OrchestratorError: If a source is faulty, or the ledger or a bucket cannot be read.
    """
    manifest, selection, verify_done = source.load(), options.selection, options.verify_done
    found = Preview(Forecast(manifest, options.retry))
    with_store = manifest.needs_listing or verify_done
    async with _opened(manifest, options.ledger, with_store=with_store) as (ledger, store):
        feed = Feed(manifest, store, selection)
        still_open = seen = 0
        async for specs in feed.specs():
            seen += len(specs)
            progress(seen)
            lost: Collection[JobKey] = ()
            if verify_done and store:
                lost, _ = await lost_stems(ledger, store, specs, RunnerSettings(), SystemClock())
            still_open += await _add(found, ledger, specs, lost)
        found.forecast.duplicates = feed.duplicates
        run = await ledger.last_run()
        if run is not None and run.resumed and (selection is None or selection.is_whole):
            found.forecast.orphaned = max((await ledger.counts(run)).of(*OPEN) - still_open, 0)
    return found


async def _add(
    found: Preview, ledger: Ledger, specs: list[JobSpec], lost: Collection[JobKey]
) -> int:
    """Count one batch; return how many of its jobs are open in the ledger."""
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
    source: ManifestSource, name: str, *, ledger: str | None = None
) -> list[ExplainedJob]:
    """Return the jobs of one object, each value with its origin; empty if no source names it.

    Raises:
        OrchestratorError: If a source is faulty, or a bucket cannot be read.
    """
    manifest = source.load()
    async with _opened(manifest, ledger, with_store=manifest.needs_listing) as (_, store):
        return [
            job
            async for batch in Feed(manifest, store).items()
            for item in batch
            if item.media.key == name
            for job in explain(manifest, item)
        ]
