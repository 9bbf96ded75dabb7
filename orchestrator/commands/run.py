"""Puts together what a manifest needs - ledger, service, limiters - and runs it. What the command does, a program can do too."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.client.wire.error_codes import is_transient_job_code
from orchestrator.commands.options import RunOptions, bounds, report_path, runner_settings
from orchestrator.commands.resources import hold_ledger, ledger_path, open_service, service_name
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.events import Noticed
from orchestrator.domain.spec import Callback
from orchestrator.manifest import load_manifest
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.runner.budget import Budget
from orchestrator.runner.patient_store import LISTING_TRIES, PatientStore
from orchestrator.runner.ports import Parts
from orchestrator.runner.runner import Runner
from orchestrator.runner.settings import RunnerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from orchestrator.client.service import CloudService
    from orchestrator.commands.options import CallbackAddress
    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Clock, EventSink, Ledger, ObjectStore
    from orchestrator.errors import Interruption
    from orchestrator.manifest import Manifest
    from orchestrator.runner.result import RunResult


class Silent:
    """A sink that wants to know nothing."""

    def emit(self, event: Event) -> None:
        """Take one event."""


class Session:
    """An opened manifest, ready to run.

    Args:
        manifest: The manifest.
        options: What is said beside it.
        parts: The ports.
        lists: Where prefixes are listed.
        callback: What jobs carry whose manifest names no callback of its own.

    Attributes:
        manifest: The manifest.
        parts: The ports.
        engine: The present visit to its run.
    """

    def __init__(
        self,
        manifest: Manifest,
        options: RunOptions,
        parts: Parts,
        lists: ObjectStore,
        *,
        callback: Callback | None = None,
    ) -> None:
        self.manifest = manifest
        self.parts = parts
        self._options = options
        self._lists = lists
        self._callback = callback
        self._budget = Budget(bounds(manifest, options))
        self._began_at = parts.clock.monotonic()
        self.engine = self._visit(0.0)

    @property
    def feed(self) -> Feed:
        """The jobs of the manifest, to be read once."""
        chosen = self._options.selection
        return Feed(
            self.manifest,
            self._lists,
            chosen.restarted() if chosen else None,
            callback=self._callback,
        )

    def stop(self, why: Interruption) -> None:
        """Stop in order (``Runner.stop``)."""
        self.engine.stop(why)

    def hint(self, job_id: str) -> None:
        """Somebody says that a job has ended (``Runner.hint``)."""
        self.engine.hint(job_id)

    async def run(self) -> RunResult:
        """Carry out the jobs.

        A report has one row for each job of its run. So jobs that are to be asked for again, and have their row in the run that is
        continued, come in a run of their own, as soon as that one has ended.

        Raises:
            OrchestratorError: If the ledger or the report cannot be written, or a source is faulty.
        """
        first = await self.engine.run(self.feed.specs())
        if not first.kept_back or not first.is_over or first.stopped is not None:
            return first
        if self.manifest.is_read_once:
            text = f"{first.kept_back} ended jobs were not asked for again, because a source cannot be read twice; run again with --retry."
            self.parts.sink.emit(Noticed(text))
            return first
        self.engine = self._visit(self.parts.clock.monotonic() - self._began_at)
        second = await self.engine.run(self.feed.specs())
        return replace(
            second, calls=first.calls + second.calls, started_at=first.started_at, before=first
        )

    def _visit(self, used_s: float) -> Runner:
        """One visit to the run; what the whole session may spend counts on, and so does the time that it has used."""
        manifest, options = self.manifest, self._options
        deadline_s = (
            options.deadline_s if options.deadline_s is not None else manifest.budget.deadline_s
        )
        return Runner(
            self.parts,
            RunnerOptions(
                name=manifest.name,
                report=report_path(manifest, options),
                moves_report=options.report is not None,
                retry=options.retry,
                verify_done=options.verify_done,
                budget=self._budget,
                deadline_s=None if deadline_s is None else round(max(deadline_s - used_s, 0.0), 3),
                window=manifest.window,
                is_whole=options.selection is None or options.selection.is_whole,
            ),
        )


@contextlib.asynccontextmanager
async def open_session(
    manifest: Manifest,
    options: RunOptions,
    *,
    sink: EventSink | None = None,
    clock: Clock | None = None,
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
        make_session(
            manifest, options, ledger, service, sink=sink or Silent(), clock=clock
        ) as session,
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
    parts = _parts(manifest, options, ledger, service, sink, clock)
    lists = (
        PatientStore(listed_from, parts.clock, parts.rng, parts.sink, parts.settings, LISTING_TRIES)
        if listed_from
        else parts.store
    )
    async with contextlib.AsyncExitStack() as stack:
        callback = None
        if options.callbacks is not None:
            callback = await _listen(
                stack,
                options.callbacks,
                ledger,
                lambda job_id: session.hint(job_id),  # noqa: PLW0108
            )
        session = Session(manifest, options, parts, lists, callback=callback)
        yield session


def _parts(
    manifest: Manifest,
    options: RunOptions,
    ledger: Ledger,
    service: CloudService,
    sink: EventSink,
    clock: Clock,
) -> Parts:
    from orchestrator.client.rate_limiter import AdaptiveLimiter
    from orchestrator.client.service_clock import ServiceClock
    from orchestrator.live.sinks import Sinks

    limits = manifest.limits
    sink = Sinks(sink)  # whoever it is, it must not hurt the run
    time = ServiceClock(clock, service)
    rng = random.Random()  # noqa: S311 - jitter, not a secret
    settings = replace(runner_settings(manifest), has_callbacks=options.callbacks is not None)
    submit_limiter = AdaptiveLimiter(limits.submit_per_s, clock)
    service.space_submits(submit_limiter)
    return Parts(
        ledger=ledger,
        service=service,
        store=PatientStore(service, time, rng, sink, settings, LISTING_TRIES),
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


async def _listen(
    stack: contextlib.AsyncExitStack,
    address: CallbackAddress,
    ledger: Ledger,
    hint: Callable[[str], None],
) -> Callback:
    """Listen for callbacks; gives what jobs must carry so that the service calls here.

    The unguessable part stays the same from run to run: jobs that are still at the service call the address that they were sent with.
    """
    from orchestrator.client.callback_listener import CallbackListener, new_token

    token = (await ledger.recall("callback.token") or new_token().encode()).decode()
    await ledger.remember("callback.token", token.encode())
    listener = await stack.enter_async_context(
        CallbackListener(address.host, address.port, token, hint)
    )
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
