"""Plan a run: compare a manifest with its ledger, and with the bucket if asked. Sends nothing."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.commands.other_ledgers import OtherLedgers
from orchestrator.commands.preflight import refusals
from orchestrator.commands.resources import (
    LOOKS_PER_S,
    check_service,
    ledger_exists,
    ledger_path,
    open_patient_store,
    service_name,
    service_place,
)
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.states import OPEN, JobState
from orchestrator.errors import ConfigError
from orchestrator.ledger import open_ledger
from orchestrator.manifest.planning.changes import nearest_change
from orchestrator.manifest.planning.explain import ExplainedJob, explain
from orchestrator.manifest.planning.forecast import Forecast, Standing, price_per_minute
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.manifest.sources.address import AddressRefused, address_of, is_address
from orchestrator.runner.settings import RunnerSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from orchestrator.commands.options import ManifestSource, RunOptions
    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger, ObjectStore
    from orchestrator.domain.spec import JobKey, JobSpec, Refusal
    from orchestrator.manifest import Manifest
    from orchestrator.runner.verifying.existing import ExistingStems

__all__ = [
    "ExplainedJob",
    "Forecast",
    "PlannedObject",
    "Preview",
    "Standing",
    "explain_object",
    "plan",
    "worth_asking",
]


MAX_REJECTED = 50
"""Reasons that a plan keeps: people fix the first ones and plan again."""


@dataclass(frozen=True, slots=True)
class PlannedObject:
    """A job that a run would work on, or leave.

    Attributes:
        sign: ``+`` new, ``~`` changed, ``>`` resumed or retried, ``!`` refused, ``-`` left by
            earlier runs and no longer in the manifest.
        spec: The job.
        reasons: Why, a phrase each; empty for a new one.
    """

    sign: str
    spec: JobSpec
    reasons: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return the job for ``plan --objects --json``."""
        spec = self.spec
        return {
            "sign": self.sign,
            "bucket": spec.media.bucket,
            "object": spec.media.key,
            "key": spec.key,
            "level": spec.level,
            "output": {stem.value: name for stem, name in spec.output.names().items()},
            "reasons": self.reasons,
            "origin": {"file": spec.origin.file, "line": spec.origin.line},
        }


@dataclass(slots=True)
class Preview:
    """Outcome of a plan.

    Attributes:
        forecast: Jobs, calls, minutes, cost, time.
        lost: Finished objects whose stems are missing, if that was checked.
        rejected: Reasons of the first objects that cannot be requested.
    """

    forecast: Forecast
    lost: list[str] = field(default_factory=list)
    rejected: list[Refusal] = field(default_factory=list)


@contextlib.asynccontextmanager
async def _opened(
    manifest: Manifest, location: str | None, *, with_store: bool
) -> AsyncIterator[tuple[Ledger, ObjectStore | None]]:
    """Open the ledger for reading, and the storage if it is needed."""
    location = ledger_path(manifest, location)
    ledger = open_ledger(location, read_only=True)
    try:
        name, place = service_name(manifest, location), service_place(manifest, location)
        await check_service(ledger, location, name, place)
        if not with_store:
            yield ledger, None
            return
        async with open_patient_store(manifest, location) as store:
            yield ledger, store
    finally:
        await ledger.close()


async def plan(
    source: ManifestSource,
    options: RunOptions,
    progress: Callable[[int], None] = lambda _: None,
    on_object: Callable[[PlannedObject], None] | None = None,
) -> Preview:
    """Compare a manifest with its ledger; nothing is sent or written.

    Args:
        source: The manifest.
        options: Ledger, selection, states to retry, ``verify_done`` to look for missing stems, and
            ``skip_existing`` to look for those that are there.
        progress: Receives the number of jobs that were read, now and then.
        on_object: Receives each job that is not done, in the order of the manifest; jobs that were
            left by earlier runs come last.

    Raises:
        OrchestratorError: If a source is faulty, or the ledger or a bucket cannot be read.
    """
    manifest = source.load(to_run=True)
    selection, verify_done = options.selection, options.verify_done
    found = Preview(Forecast(manifest, options.retry))
    location = ledger_path(manifest, options.ledger)
    found.forecast.remarks += refusals(manifest, location)
    skip_existing = options.skip_existing or manifest.skip_existing
    with_store = manifest.needs_listing or verify_done or skip_existing
    async with _opened(manifest, options.ledger, with_store=with_store) as (ledger, store):
        feed = Feed(manifest, store, selection)
        seen, named = 0, _Named(on_object)
        own = ledger if ledger_exists(location) else None
        others = OtherLedgers(manifest, location, own)
        search = _search(ledger, store, found) if skip_existing and store else None
        found.forecast.canary = manifest.canary if options.canary is None else options.canary
        async for specs in feed.specs():
            seen += len(specs)
            progress(seen)
            await others.look(specs)
            lost = await _lost(ledger, store, specs) if verify_done and store else ()
            await _add(found, ledger, specs, lost, named, search)
        if search is not None:
            search.remark()
        found.forecast.remarks += others.remarks()
        found.forecast.duplicates = feed.duplicates
        found.forecast.left_out = feed.found.left_out
        found.forecast.remarks += feed.found.remarks
        run = await ledger.last_run()
        if run is not None and (selection is None or selection.is_whole):
            counts = await ledger.counts(run)
            unsent = counts.of(JobState.PLANNED) + counts.left
            found.forecast.left = max(unsent - named.planned, 0)
            under_way = counts.of(*OPEN) - counts.of(JobState.PLANNED)
            found.forecast.orphaned = found.forecast.left + max(under_way - named.under_way, 0)
            await named.show_left(ledger)
    return found


async def _lost(ledger: Ledger, store: ObjectStore, specs: list[JobSpec]) -> Collection[JobKey]:
    """Return the finished jobs among some whose stems are missing."""
    from orchestrator.runner.verifying.verifier import lost_stems

    lost, _ = await lost_stems(ledger, store, specs, RunnerSettings(), SystemClock())
    return lost


def _search(ledger: Ledger, store: ObjectStore, found: Preview) -> ExistingStems:
    from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
    from orchestrator.runner.verifying.existing import ExistingStems

    clock, remarks = SystemClock(), found.forecast.remarks
    limiter = AdaptiveLimiter(LOOKS_PER_S, clock)
    return ExistingStems(ledger, store, limiter, RunnerSettings(), clock, remarks.append)


async def worth_asking(
    source: ManifestSource, options: RunOptions, progress: Callable[[int], None] = lambda _: None
) -> Forecast | None:
    """Return the forecast of a run if a user should confirm it; nothing is planned otherwise.

    Raises:
        OrchestratorError: As ``plan`` does.
    """
    manifest = source.load()
    limit = manifest.confirm_above
    if limit is None or manifest.is_read_once or not price_per_minute(manifest):
        return None
    forecast = (await plan(source, options, progress)).forecast
    return forecast if forecast.to_do and (forecast.cost is None or forecast.cost > limit) else None


@dataclass(slots=True)
class _Named:
    """Open jobs of the ledger that the manifest names: not sent, and at the service.

    Attributes:
        on_object: Receives the objects, if they are wanted.
        planned: Jobs that were not sent.
        under_way: Jobs at the service.
        planned_ids: Their ids in the ledger, if objects are wanted.
    """

    on_object: Callable[[PlannedObject], None] | None = None
    planned: int = 0
    under_way: int = 0
    planned_ids: set[int] = field(default_factory=set)

    def show(self, spec: JobSpec, how: Standing, job: Job | None, known: list[JobSpec]) -> None:
        """Show a job that is not done."""
        if self.on_object is None or how is Standing.DONE:
            return
        match how:
            case Standing.NEW:
                reasons = []
            case Standing.CHANGED:
                reasons = nearest_change(known, spec)
            case Standing.REJECTED:
                reasons = [spec.refusal.message] if spec.refusal else []
            case Standing.LOST:
                reasons = ["its stems are missing"]
            case _:
                reasons = [f"{job.state} {job.code}".strip()] if job else []
        self.on_object(PlannedObject(_SIGNS[how], spec, reasons))

    async def show_left(self, ledger: Ledger) -> None:
        """Show the jobs that earlier runs left unsent, and that the manifest does not name."""
        after_id = 0
        while self.on_object is not None:
            jobs = await ledger.in_states({JobState.PLANNED}, after_id)
            if not jobs:
                return
            after_id = jobs[-1].id
            for job in jobs:
                if job.id not in self.planned_ids:
                    reason = "no longer in the manifest"
                    self.on_object(PlannedObject("-", job.spec, [reason]))


_SIGNS = {
    Standing.NEW: "+",
    Standing.CHANGED: "~",
    Standing.REJECTED: "!",
    Standing.LOST: "+",
    Standing.OPEN: ">",
    Standing.FAILED: ">",
}


async def _add(
    found: Preview,
    ledger: Ledger,
    specs: list[JobSpec],
    lost: Collection[JobKey],
    named: _Named,
    search: ExistingStems | None,
) -> None:
    """Count one batch."""
    known = await ledger.find([spec.key for spec in specs])
    there: Collection[JobKey] = ()
    if search is not None:
        may_be_sent = {None, JobState.PLANNED, *found.forecast.retry}
        states = {spec.key: job.state if (job := known.get(spec.key)) else None for spec in specs}
        there = await search.find([spec for spec in specs if states[spec.key] in may_be_sent])
    changed = await ledger.same_object([spec for spec in specs if spec.key not in known])
    for spec in specs:
        job = known.get(spec.key)
        if spec.refusal is not None and len(found.rejected) < MAX_REJECTED:
            found.rejected.append(spec.refusal)
        if spec.key in lost:
            found.lost.append(spec.media.key)
        is_changed, is_lost = spec.key in changed, spec.key in lost
        how = found.forecast.add(
            spec, job, changed=is_changed, lost=is_lost, is_there=spec.key in there
        )
        if how is not Standing.FAILED or (job is not None and job.state in found.forecast.retry):
            named.show(spec, how, job, changed.get(spec.key, []))
        if job is not None and job.state is JobState.PLANNED:
            named.planned += 1
            if named.on_object is not None:
                named.planned_ids.add(job.id)
        elif job is not None and job.state in OPEN:
            named.under_way += 1


async def explain_object(
    source: ManifestSource, name: str, *, ledger: str | None = None
) -> list[ExplainedJob]:
    """Return the jobs of one object, each value with its origin; empty if no source names it.

    Raises:
        OrchestratorError: If a source is faulty, or a bucket cannot be read.
    """
    manifest = source.load()
    if is_address(name):
        try:
            name = address_of(name).key
        except AddressRefused as error:
            raise ConfigError(f"--explain: {error.message}") from error
    async with _opened(manifest, ledger, with_store=manifest.needs_listing) as (_, store):
        return [
            job
            async for batch in Feed(manifest, store).items()
            for item in batch
            if item.media.key == name
            for job in explain(manifest, item)
        ]
