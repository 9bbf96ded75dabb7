"""Rehearse a manifest: run it against the embedded service, which plays a script of faults.

Work is simulated and costs nothing. Nothing of the real run is touched: ledger, report and objects
of a rehearsal have a folder of their own. Only prefixes are listed at the manifest's own service,
because the rehearsal needs the names.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.commands.resources import (
    hold_ledger,
    ledger_path,
    local_buckets,
    open_client,
    open_store,
    ports_of,
    random_keys,
)
from orchestrator.commands.run import ready_session
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.events import JobEnded
from orchestrator.domain.states import JobState
from orchestrator.live.sinks import Sinks
from orchestrator.manifest.planning.forecast import Forecast
from orchestrator.runner.storage_retries import LISTING_TRIES, RetryingStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from orchestrator.commands.options import ManifestSource, RunOptions
    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Clock, EventSink, ObjectStore
    from orchestrator.domain.spec import JobSpec
    from orchestrator.manifest import Manifest
    from orchestrator.runner.result import RunResult
    from orchestrator.server.faults.script import Faults
    from orchestrator.server.service import LocalService

_JOB_S = 5.0  # run time of a simulated job, unless the script sets another
_CONCURRENT = 10  # jobs at once: the vendor's sample of MaxConcurrent


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of a rehearsal.

    Attributes:
        jobs: Jobs of the manifest that were carried out.
        duplicates: Jobs at the service beyond one for each job of the manifest, without those that
            failed. Must be 0.
        is_complete: Every job of the manifest is known and has ended, and no error stopped it.
        stopped: Reason why it is not complete, or empty.
        states: Number of jobs by state.
        losses: Jobs that the service did and the report does not count as succeeded. Must be 0.
        calls_per_job: Submits, queries and lists per job.
        elapsed_s: Duration.
        job_p50_s: Time from submit to end that half of the jobs needed at most; None if none ended.
        job_p95_s: The same for 95 % of the jobs.
        cost: Cost of the real run by the manifest's price, or None if no duration is known or the
            manifest was not read to its end.
        currency: Currency of the cost.
        faults_played: Number of faults that were played.
        folder: Folder of the rehearsal's ledger and report.
    """

    jobs: int
    is_complete: bool
    stopped: str
    states: dict[str, int]
    duplicates: int
    losses: int
    calls_per_job: float
    elapsed_s: float
    job_p50_s: float | None
    job_p95_s: float | None
    cost: float | None
    currency: str
    faults_played: int
    folder: str

    @property
    def is_good(self) -> bool:
        """True if it is complete and nothing was doubled or lost."""
        return self.is_complete and not self.duplicates and not self.losses

    def as_dict(self) -> dict[str, Any]:
        """Return the content of ``--json``."""
        return {**asdict(self), "is_good": self.is_good}


class _JobTimes:
    """Sink that keeps how long each job took."""

    def __init__(self) -> None:
        self.took_s: list[float] = []

    def emit(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, JobEnded) and event.took_s is not None:
            self.took_s.append(event.took_s)

    def percentile(self, percent: int) -> float | None:
        """Return the time within which this share of the jobs ended."""
        if not self.took_s:
            return None
        ordered = sorted(self.took_s)
        return round(ordered[math.ceil(len(ordered) * percent / 100) - 1], 1)


async def rehearse(
    source: ManifestSource, options: RunOptions, script: Path, *, sink: EventSink
) -> tuple[RunResult, Verdict]:
    """Run a manifest against the embedded service, which plays ``script``.

    Raises:
        ManifestError: If the script or the manifest is faulty.
        OrchestratorError: If the rehearsal cannot be carried out.
    """
    from orchestrator.server.faults.script import Faults

    manifest, faults = source.load(), Faults.load(script)
    clock = SystemClock()
    stamp = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = manifest.folder / ".orchestrator" / "rehearsals" / f"{manifest.name}-{stamp}"
    location = str(folder / "ledger.db")
    apart = replace(options, ledger=location, report=options.report or str(folder / "report.jsonl"))
    forecast = Forecast(manifest)
    buckets = local_buckets(manifest, ledger_path(manifest, options.ledger))
    async with (
        _listed_store(manifest, options, clock) as listed,
        _playing(folder, faults, clock, buckets) as local,
        hold_ledger(location, "rehearsal", clock) as ledger,
        open_client(manifest, clock, local) as client,
    ):
        times = _JobTimes()
        both = Sinks(sink, times)
        ports = ports_of(manifest, apart, ledger, client, sink=both, clock=clock)
        # The script may make the list lag, even where the manifest names the embedded service.
        ports = replace(ports, settings=replace(ports.settings, list_is_exact=False))
        lists: ObjectStore = ports.store
        if listed is not None:
            lists = RetryingStore(
                listed, ports.clock, ports.rng, ports.sink, ports.settings, LISTING_TRIES
            )
        async with ready_session(manifest, apart, ports, lists) as session:
            result = await session.runner.run(_counted(session.feed.specs(), forecast))
            return result, _judge(manifest, result, forecast, local.state(), times, folder)


async def _counted(
    specs: AsyncGenerator[list[JobSpec]], forecast: Forecast
) -> AsyncGenerator[list[JobSpec]]:
    async for batch in specs:
        for spec in batch:
            forecast.add(spec)
        yield batch


@contextlib.asynccontextmanager
async def _listed_store(
    manifest: Manifest, options: RunOptions, clock: Clock
) -> AsyncIterator[ObjectStore | None]:
    """Open the manifest's own storage if it lists prefixes."""
    if not manifest.needs_listing:
        yield None
        return
    async with open_store(manifest, ledger_path(manifest, options.ledger), clock) as store:
        yield store


@contextlib.asynccontextmanager
async def _playing(
    folder: Path, faults: Faults, clock: Clock, buckets: set[str] | None
) -> AsyncIterator[LocalService]:
    """Start the embedded service with simulated work and the script.

    Only ``buckets`` exist there; None: each output bucket that a job names is made.
    """
    from orchestrator.server.pace import Pace, Progression
    from orchestrator.server.service import LocalService
    from orchestrator.server.settings import LocalSettings, MissingBucket

    for bucket in buckets or ():
        (folder / "objects" / bucket).mkdir(parents=True, exist_ok=True)
    settings = LocalSettings(
        root=folder / "objects",
        credentials=(random_keys("rehearsal"),),
        progression=Progression(pace=Pace.SECONDS, finish_after=_JOB_S),
        missing_bucket=MissingBucket.MAKE if buckets is None else MissingBucket.REFUSE,
        max_concurrent=_CONCURRENT,
    )
    async with LocalService(settings.with_faults(faults), clock) as local:
        yield local


def _judge(
    manifest: Manifest,
    result: RunResult,
    forecast: Forecast,
    state: dict[str, Any],
    times: _JobTimes,
    folder: Path,
) -> Verdict:
    made = state["jobs"].get("Success", 0)
    duplicates, faults = state["duplicates"], state["faults"]
    calls, counts, jobs = result.calls, result.counts, result.counts.total
    minutes = forecast.output_minutes if result.is_planned else None
    calls_made = calls.submits + calls.queries + calls.lists
    return Verdict(
        jobs=jobs,
        is_complete=result.is_over,
        stopped=result.stopped.reason if result.stopped and not result.is_over else "",
        states={state.value: counts.of(state) for state in JobState},
        duplicates=duplicates,
        losses=max(made - duplicates - counts.of(JobState.SUCCEEDED), 0),
        calls_per_job=round(calls_made / jobs, 3) if jobs else 0.0,
        elapsed_s=round(result.ended_at - result.started_at, 1),
        job_p50_s=times.percentile(50),
        job_p95_s=times.percentile(95),
        cost=None if minutes is None else round(minutes * manifest.price.per_minute, 4),
        currency=manifest.price.currency,
        faults_played=sum(faults.values()) if isinstance(faults, dict) else int(faults),
        folder=str(folder),
    )
