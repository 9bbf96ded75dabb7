"""Opens everything that a manifest needs - ledger, service, limiters - and runs it. What the command does, a program can do too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import random
import secrets
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.budget import Bounds
from orchestrator.clock import SystemClock
from orchestrator.errors import ConfigError
from orchestrator.feed import Feed
from orchestrator.ledger import ledger_path as ledger_file
from orchestrator.ledger import open_ledger
from orchestrator.manifest import EndpointSettings, LocalServiceSettings, load_manifest
from orchestrator.model import Callback, Holder
from orchestrator.patience import PatientStore
from orchestrator.ports import Parts
from orchestrator.protocol.codes import is_transient_job_code
from orchestrator.run import Engine
from orchestrator.settings import EngineSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from orchestrator.cloud.credentials import CredentialSource
    from orchestrator.cloud.service import CloudService
    from orchestrator.events import Event
    from orchestrator.manifest import Manifest
    from orchestrator.ports import Clock, EventSink, Ledger, ObjectStore
    from orchestrator.run import RunResult
    from orchestrator.selection import Selection
    from orchestrator.states import JobState


class Silent:
    """A sink that wants to know nothing."""

    def emit(self, event: Event) -> None:
        """Take one event."""


@dataclass(frozen=True, slots=True)
class CallbackAddress:
    """Where a run listens for callbacks.

    Attributes:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        url: What the service must call to get there (without the unguessable last part); empty: the address itself.
    """

    host: str
    port: int
    url: str = ""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is said for one run beside its manifest; what is None is taken from the manifest.

    Attributes:
        ledger: Path or URL of the ledger.
        report: Path of the report.
        retry: States of jobs of earlier runs that are asked for again.
        verify_done: Make done jobs again whose stems are gone.
        max_failures: Count of failures that stops the run.
        max_failure_percent: Share of failures that stops the run.
        max_cost: Cost that stops the run.
        deadline_s: Longest time of the run.
        selection: The part of the manifest to carry out; all of it if None.
        callbacks: Where to listen for the service's callbacks, or None.
    """

    ledger: str | None = None
    report: str | None = None
    retry: frozenset[JobState] = frozenset()
    verify_done: bool = False
    max_failures: int | None = None
    max_failure_percent: float | None = None
    max_cost: float | None = None
    deadline_s: float | None = None
    selection: Selection | None = None
    callbacks: CallbackAddress | None = None


def ledger_path(manifest: Manifest, ledger: str | None = None) -> str:
    """Where the ledger of a manifest lies: ``.orchestrator/<name>.db`` beside it, unless said otherwise."""
    return ledger or str(manifest.path.resolve().parent / ".orchestrator" / f"{manifest.name}.db")


def service_name(manifest: Manifest, ledger: str) -> str:
    """What the ledger remembers the service by: a job id of one means nothing to another."""
    match manifest.service:
        case LocalServiceSettings():
            return f"local:{local_root(manifest, ledger)}"
        case EndpointSettings(ci=ci):
            return f"endpoint:{ci}"
        case _:
            return "tencent"


def local_root(manifest: Manifest, ledger: str) -> Path:
    """Folder of the local service's objects: as the manifest says, or ``objects`` beside the ledger."""
    root = manifest.service.root if isinstance(manifest.service, LocalServiceSettings) else None
    return (root or ledger_file(ledger).parent / "objects").resolve()


@contextlib.asynccontextmanager
async def open_service(manifest: Manifest, ledger: str, clock: Clock) -> AsyncIterator[CloudService]:
    """The client of the manifest's service; an embedded service is started, and stopped at the end.

    Raises:
        CredentialsMissing: If there is no key pair for a remote service.
        LedgerLocked: If another process serves the same root.
    """
    from orchestrator.cloud.credentials import Discovered, Static
    from orchestrator.cloud.endpoint import Endpoint, Timeouts
    from orchestrator.cloud.service import CloudService
    from orchestrator.protocol.signature import Credentials

    async with contextlib.AsyncExitStack() as stack:
        source: CredentialSource = Discovered()
        endpoint = Endpoint()
        match manifest.service:
            case LocalServiceSettings():
                from orchestrator.local.service import LocalService
                from orchestrator.local.settings import KeyPair, LocalSettings

                # Random for each run: nobody else on this machine may talk to the embedded service.
                keys = KeyPair(f"local-{secrets.token_hex(8)}", secrets.token_hex(32))
                settings = LocalSettings(root=local_root(manifest, ledger), credentials=(keys,))
                local = await stack.enter_async_context(LocalService(settings, clock))
                endpoint = Endpoint(ci_url=local.url, cos_url=local.url)
                source = Static(Credentials(keys.secret_id, keys.secret_key))
            case EndpointSettings(ci=ci, cos=cos):
                endpoint = Endpoint(ci_url=ci, cos_url=cos)
            case _:
                pass
        limits = manifest.limits
        client = CloudService(endpoint, source, clock, connections=limits.connections, timeouts=Timeouts.within(limits.timeout_s))
        yield await stack.enter_async_context(client)


@contextlib.asynccontextmanager
async def hold_ledger(location: str, service: str, clock: Clock) -> AsyncIterator[Ledger]:
    """The ledger at ``location``, with its lease; it must be about ``service`` (``service_name``), or new.

    Raises:
        LedgerLocked: If another run holds it.
        LedgerError: If it cannot be opened.
        ConfigError: If it belongs to another service.
    """
    ledger = open_ledger(location)
    try:
        await ledger.acquire(Holder(platform.node(), os.getpid(), clock.now(), " ".join(sys.argv[:3])))
        await _check_service(ledger, location, service)
        yield ledger
    finally:
        await ledger.close()


async def _check_service(ledger: Ledger, location: str, name: str) -> None:
    """A ledger is about the jobs of one service: what was done on another one is not done here."""
    known = await ledger.recall("service")
    if known is None:
        await ledger.remember("service", name.encode())
    elif known.decode() != name:
        raise ConfigError(
            f"The ledger {location} is about the service {known.decode()}, and this run is for {name}. "
            "Give this run a ledger of its own with --ledger FILE (a rehearsal proves nothing about what another service has done)."
        )


def report_path(manifest: Manifest, options: RunOptions) -> str:
    """Where the report goes; ``{run}`` in it becomes the run's id."""
    return str(Path(options.report).resolve()) if options.report else str(manifest.report)


def engine_settings(manifest: Manifest) -> EngineSettings:
    """The engine's bounds, as the manifest sets them."""
    limits, retry = manifest.limits, manifest.retry
    return EngineSettings(
        in_flight=limits.in_flight,
        connections=limits.connections,
        attempts=retry.attempts,
        initial_s=retry.initial_s,
        cap_s=retry.cap_s,
        settle_s=retry.settle_s,
        reply_timeout_s=limits.timeout_s,
    )


def bounds(manifest: Manifest, options: RunOptions) -> Bounds:
    """What the run may spend: the options, and where they say nothing the manifest."""
    allowed = manifest.budget.max_failures
    count, percent = options.max_failures, options.max_failure_percent
    if count is None and percent is None and allowed is not None:
        count, percent = allowed.count, allowed.percent
    cost = options.max_cost if options.max_cost is not None else manifest.budget.max_cost
    return Bounds(count, percent, cost, manifest.price.per_minute)


@dataclass(frozen=True, slots=True)
class Session:
    """An opened manifest, ready to run.

    Attributes:
        manifest: The manifest.
        parts: The ports.
        engine: One visit to its run.
        feed: Its jobs.
    """

    manifest: Manifest
    parts: Parts
    engine: Engine
    feed: Feed = field(repr=False)

    async def run(self) -> RunResult:
        """Carry out the jobs.

        Raises:
            OrchestratorError: If the ledger or the report cannot be written, or a source is faulty.
        """
        return await self.engine.run(self.feed.specs())


@contextlib.asynccontextmanager
async def open_session(
    manifest: Manifest, options: RunOptions, *, sink: EventSink | None = None, clock: Clock | None = None
) -> AsyncIterator[Session]:
    """Open ledger and service of a manifest.

    Raises:
        OrchestratorError: See ``open_service`` and ``hold_ledger``.
    """
    clock = clock or SystemClock()
    location = ledger_path(manifest, options.ledger)
    async with (
        hold_ledger(location, service_name(manifest, location), clock) as ledger,
        open_service(manifest, location, clock) as service,
        make_session(manifest, options, ledger, service, sink=sink or Silent(), clock=clock) as session,
    ):
        yield session


@contextlib.asynccontextmanager
async def make_session(
    manifest: Manifest,
    options: RunOptions,
    ledger: Ledger,
    service: CloudService,
    *,
    sink: EventSink,
    clock: Clock,
    listed_from: ObjectStore | None = None,
) -> AsyncIterator[Session]:
    """Put together what was opened.

    Args:
        manifest: The manifest.
        options: What is said beside it.
        ledger: Its ledger, acquired.
        service: Who carries out the jobs.
        sink: Who wants to know.
        clock: Time.
        listed_from: Where prefixes are listed, if not at ``service``.

    Raises:
        ConfigError: If the address for callbacks cannot be listened on.
    """
    from orchestrator.cloud.limiter import AdaptiveLimiter
    from orchestrator.cloud.serviceclock import ServiceClock
    from orchestrator.ui.lines import Sinks

    limits = manifest.limits
    sink = Sinks(sink)  # whoever it is, it must not hurt the run
    time = ServiceClock(clock, service)
    rng = random.Random()  # noqa: S311 - jitter, not a secret
    settings = replace(engine_settings(manifest), has_callbacks=options.callbacks is not None)
    submit_limiter = AdaptiveLimiter(limits.submit_per_s, clock)
    service.space_submits(submit_limiter)
    parts = Parts(
        ledger=ledger,
        service=service,
        store=PatientStore(service, time, rng, sink, settings),
        submit_limiter=submit_limiter,
        query_limiter=AdaptiveLimiter(limits.query_per_s, clock),
        list_limiter=AdaptiveLimiter(limits.query_per_s, clock),
        clock=time,
        rng=rng,
        sink=sink,
        is_transient=is_transient_job_code,
        off_loop=asyncio.to_thread,
        settings=settings,
    )
    engine = Engine(
        parts,
        name=manifest.name,
        report=report_path(manifest, options),
        moves_report=options.report is not None,
        retry=options.retry,
        verify_done=options.verify_done,
        bounds=bounds(manifest, options),
        deadline_s=options.deadline_s if options.deadline_s is not None else manifest.budget.deadline_s,
        window=manifest.window,
        is_whole=options.selection is None or options.selection.is_whole,
    )
    async with contextlib.AsyncExitStack() as stack:
        callback = None
        if options.callbacks is not None:
            callback = await _listen(stack, options.callbacks, ledger, engine)
        lists = PatientStore(listed_from, time, rng, sink, settings) if listed_from else parts.store
        yield Session(manifest, parts, engine, Feed(manifest, lists, options.selection, callback=callback))


async def _listen(stack: contextlib.AsyncExitStack, address: CallbackAddress, ledger: Ledger, engine: Engine) -> Callback:
    """Listen for callbacks; gives what jobs must carry so that the service calls here.

    The unguessable part stays the same from run to run: jobs that are still at the service call the address that they were sent with.
    """
    from orchestrator.cloud.hooks import CallbackListener, new_token

    token = (await ledger.recall("callback.token") or new_token().encode()).decode()
    await ledger.remember("callback.token", token.encode())
    listener = await stack.enter_async_context(CallbackListener(address.host, address.port, token, engine.hint))
    host = f"[{address.host}]" if ":" in address.host else address.host
    base = address.url or f"http://{host}:{listener.port}"
    return Callback(url=f"{base.rstrip('/')}/{token}", format="JSON")


async def run_manifest(
    path: str | Path,
    *,
    service: str | None = None,
    sets: Mapping[str, str] | None = None,
    options: RunOptions | None = None,
    sink: EventSink | None = None,
) -> RunResult:
    """Run a manifest to its end, as ``orchestrator run`` does.

    Args:
        path: The manifest.
        service: ``local`` or ``tencent`` instead of what the manifest says.
        sets: Values for its ``params``.
        options: Ledger, report, budgets.
        sink: Told of every event.

    Returns:
        How it ended: ``result.counts``, ``result.run.report`` and more.

    Raises:
        OrchestratorError: Whatever keeps the run from being carried out; failed jobs are counted, not raised.
    """
    manifest = load_manifest(Path(path), sets or {}, service=service)
    async with open_session(manifest, options or RunOptions(), sink=sink) as session:
        return await session.run()
