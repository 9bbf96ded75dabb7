"""A rehearsal: the manifest against the embedded service with a script of faults and simulated work, and a verdict. Costs nothing.

Nothing of the real run is touched: ledger, report and objects of a rehearsal lie in a folder of their own. Only prefixes are listed
where they really are, because the rehearsal needs their names.
"""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orchestrator.commands.resources import hold_ledger, ledger_path, open_store
from orchestrator.commands.run import make_session
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.states import JobState
from orchestrator.manifest.planning.forecast import Forecast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from orchestrator.commands.options import RunOptions
    from orchestrator.domain.ports import Clock, EventSink, ObjectStore
    from orchestrator.domain.spec import JobSpec
    from orchestrator.manifest import Manifest
    from orchestrator.runner.result import RunResult
    from orchestrator.server.service import LocalService

_JOB_S = 5.0  # run time of a simulated job, unless the script says otherwise
_CONCURRENT = 10  # jobs at once: the vendor's sample of MaxConcurrent


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rehearsal showed.

    Attributes:
        jobs: Jobs of the manifest that were carried out.
        duplicates: Jobs that the service has beyond one for each job of the manifest (those that failed not counted). Must be 0.
        losses: Jobs that the service did, and that the report does not count as succeeded. Must be 0.
        calls_per_job: Submits, queries and lists per job.
        elapsed_s: How long it took.
        cost: What the real run would have cost by the manifest's price, or None if no duration is known.
        currency: Of the cost.
        faults_played: How often the script struck.
        folder: Where ledger and report of the rehearsal lie.
    """

    jobs: int
    duplicates: int
    losses: int
    calls_per_job: float
    elapsed_s: float
    cost: float | None
    currency: str
    faults_played: int
    folder: str

    @property
    def is_good(self) -> bool:
        """Nothing doubled, nothing lost."""
        return not self.duplicates and not self.losses

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**asdict(self), "is_good": self.is_good}


async def rehearse(
    manifest: Manifest, options: RunOptions, script: Path, *, sink: EventSink
) -> tuple[RunResult, Verdict]:
    """Run a manifest against the embedded service that plays ``script``.

    Raises:
        ManifestError: If the script or the manifest is faulty.
        OrchestratorError: If the rehearsal cannot be carried out.
    """
    clock = SystemClock()
    stamp = datetime.fromtimestamp(clock.now(), UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = manifest.folder / ".orchestrator" / "rehearsals" / f"{manifest.name}-{stamp}"
    location = str(folder / "ledger.db")
    apart = replace(options, ledger=location, report=options.report or str(folder / "report.jsonl"))
    forecast = Forecast(manifest)
    async with contextlib.AsyncExitStack() as stack:
        listed_from = await stack.enter_async_context(_listing(manifest, options, clock))
        local = await stack.enter_async_context(_stage(folder, script, clock))
        ledger = await stack.enter_async_context(hold_ledger(location, "rehearsal", clock))
        service = await stack.enter_async_context(_client(manifest, local, clock))
        session = await stack.enter_async_context(
            make_session(
                manifest, apart, ledger, service, sink=sink, clock=clock, listed_from=listed_from
            )
        )
        result = await session.engine.run(_counted(session.feed.specs(), forecast))
        return result, _judge(manifest, result, forecast, local.state(), folder)


async def _counted(
    specs: AsyncGenerator[list[JobSpec]], forecast: Forecast
) -> AsyncGenerator[list[JobSpec]]:
    async for batch in specs:
        for spec in batch:
            forecast.add(spec)
        yield batch


@contextlib.asynccontextmanager
async def _listing(
    manifest: Manifest, options: RunOptions, clock: Clock
) -> AsyncIterator[ObjectStore | None]:
    """Where prefixes are listed: at the manifest's own service."""
    if not manifest.needs_listing:
        yield None
        return
    async with open_store(manifest, ledger_path(manifest, options.ledger), clock) as store:
        yield store


@contextlib.asynccontextmanager
async def _stage(folder: Path, script: Path, clock: Clock) -> AsyncIterator[LocalService]:
    """The embedded service, playing the script."""
    from orchestrator.server.faults.script import Faults
    from orchestrator.server.http.key_pairs import KeyPair
    from orchestrator.server.progression import Pace, Progression
    from orchestrator.server.service import LocalService
    from orchestrator.server.settings import LocalSettings

    settings = LocalSettings(
        root=folder / "objects",
        credentials=(KeyPair(f"rehearsal-{secrets.token_hex(8)}", secrets.token_hex(32)),),
        progression=Progression(pace=Pace.SECONDS, finish_after=_JOB_S),
        max_concurrent=_CONCURRENT,
    )
    async with LocalService(settings.with_faults(Faults.load(script)), clock) as local:
        yield local


@contextlib.asynccontextmanager
async def _client(manifest: Manifest, local: LocalService, clock: Clock) -> AsyncIterator[Any]:
    from orchestrator.client.credentials import Static
    from orchestrator.client.endpoint import Endpoint
    from orchestrator.client.service import CloudService
    from orchestrator.client.wire.signature import Credentials

    keys = local.settings.credentials[0]
    endpoint = Endpoint(ci_url=local.url, cos_url=local.url)
    source = Static(Credentials(keys.secret_id, keys.secret_key))
    async with CloudService(
        endpoint, source, clock, connections=manifest.limits.connections
    ) as client:
        yield client


def _judge(
    manifest: Manifest, result: RunResult, forecast: Forecast, state: dict[str, Any], folder: Path
) -> Verdict:
    done = result.counts.of(JobState.SUCCEEDED)
    made = state["jobs"].get("Success", 0)
    duplicates = state["duplicates"]
    calls = result.calls
    minutes = forecast.output_minutes
    jobs = result.counts.total
    return Verdict(
        jobs=jobs,
        duplicates=duplicates,
        losses=max(made - duplicates - done, 0),
        calls_per_job=round((calls.submits + calls.queries + calls.lists) / jobs, 3)
        if jobs
        else 0.0,
        elapsed_s=round(result.ended_at - result.started_at, 1),
        cost=None if minutes is None else round(minutes * manifest.price.per_minute, 4),
        currency=manifest.price.currency,
        faults_played=sum(state["faults"].values())
        if isinstance(state["faults"], dict)
        else int(state["faults"]),
        folder=str(folder),
    )


def verdict_text(verdict: Verdict) -> str:
    """The verdict for people."""
    cost = "unknown" if verdict.cost is None else f"about {verdict.cost:,.2f} {verdict.currency}"
    lines = [
        f"rehearsal: {'good' if verdict.is_good else 'NOT GOOD'}",
        f"  duplicates   {verdict.duplicates:,}",
        f"  losses       {verdict.losses:,}",
        f"  faults       {verdict.faults_played:,} played",
        f"  calls        {verdict.calls_per_job:g} per job, {verdict.jobs:,} jobs",
        f"  time         {verdict.elapsed_s:g} s",
        f"  would cost   {cost}",
        f"  kept in      {verdict.folder}",
    ]
    return "\n".join(lines) + "\n"
