"""Run a manifest: what ``orchestrator run`` does, for programs too."""

from __future__ import annotations

import contextlib
import logging
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.commands.exit_codes import of_error
from orchestrator.commands.history import note_pace, note_run, summary_of
from orchestrator.commands.notify import FAILURES_LISTED, Outcome, check_notify, notify
from orchestrator.commands.options import ManifestSource, RunOptions, budget_bounds, report_path
from orchestrator.commands.other_ledgers import OtherLedgers
from orchestrator.commands.preflight import (
    check_address,
    check_means,
    check_outputs,
    make_outputs,
    nearest_folder,
    prepared_report,
)
from orchestrator.commands.resources import (
    has_manifest,
    hold_ledger,
    ledger_exists,
    ledger_path,
    manifest_id,
    open_service,
    open_store,
    ports_of,
    remember_place,
    service_name,
    service_place,
    share_limits,
)
from orchestrator.commands.stems import bucket_folders, stems_of
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.events import Noticed
from orchestrator.domain.spec import Callback
from orchestrator.domain.wording import counted
from orchestrator.errors import ConfigError, OrchestratorError
from orchestrator.ledger import ledger_path as ledger_file
from orchestrator.live.pace import Pace
from orchestrator.live.sinks import Sinks
from orchestrator.live.tally import Tally
from orchestrator.manifest import LocalServiceSettings
from orchestrator.manifest.planning.forecast import price_per_minute
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.postgresql import is_address
from orchestrator.reporting.report_file import ReportFile, open_report, present_report
from orchestrator.reporting.row import WELL
from orchestrator.reporting.run_files import delete_old_reports
from orchestrator.runner.budget import Budget
from orchestrator.runner.result import RunResult
from orchestrator.runner.runner import Runner
from orchestrator.runner.settings import RunnerOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
    from contextlib import AbstractContextManager

    from orchestrator.client.service import CloudService
    from orchestrator.commands.options import CallbackAddress
    from orchestrator.domain.ports import Clock, EventSink, Ledger, ObjectStore
    from orchestrator.domain.run import Run
    from orchestrator.domain.spec import JobSpec
    from orchestrator.errors import Interruption
    from orchestrator.manifest import Manifest
    from orchestrator.reporting.summary import Summary
    from orchestrator.runner.ports import Ports

__all__ = [
    "RunResult",
    "Session",
    "failures_of",
    "open_session",
    "run_manifest",
]

_RUNS_BEHIND = 1000
"""Runs beyond the kept ones whose reports are looked for; each run deletes those behind it."""
_logger = logging.getLogger(__name__)


class Session:
    """An opened manifest, ready to run.

    Args:
        manifest: The manifest.
        options: Choices beside it.
        ports: The ports.
        lists: Storage where prefixes are listed.

    Attributes:
        manifest: The manifest.
        ports: The ports.
        runner: Carries out the present run.
        callback: Callback of jobs whose manifest names none.
        summaries: Summaries of the runs that it has carried out, in order.
        tally: Counts of the present run as it goes.
    """

    def __init__(
        self, manifest: Manifest, options: RunOptions, ports: Ports, lists: ObjectStore
    ) -> None:
        self.manifest = manifest
        self.tally = Tally(ports.clock)
        self.tally.price_per_min, self.tally.currency = self.price
        self._pace = Pace(ports.clock, lambda: ports.submit_limiter.rate_per_s)
        ports = replace(ports, sink=Sinks(ports.sink, self.tally, self._pace))
        self.ports = ports
        self.callback: Callback | None = None
        self.summaries: list[Summary] = []
        self._options = options
        self._lists = lists
        self._budget = Budget(budget_bounds(manifest, options))
        self._began_at = ports.clock.monotonic()
        self._canary = manifest.canary if options.canary is None else options.canary
        self.runner = self._next_runner(0.0)

    @property
    def price(self) -> tuple[float, str]:
        """Price of one minute of output, and its currency."""
        return price_per_minute(self.manifest), self.manifest.price.currency

    @property
    def feed(self) -> Feed:
        """Jobs of the manifest, to be read once."""
        chosen = self._options.selection
        selection = chosen.restarted() if chosen else None
        return Feed(self.manifest, self._lists, selection, callback=self.callback)

    def trouble(self) -> str:
        """Return why nothing can be recorded now (``Ledger.trouble``)."""
        return self.ports.ledger.trouble()

    def stop(self, why: Interruption) -> None:
        """Stop in order (``Runner.stop``)."""
        self.runner.stop(why)

    def hint(self, job_id: str) -> None:
        """Query a job soon, because a callback says that it has ended (``Runner.hint``)."""
        self.runner.hint(job_id)

    async def run(self) -> RunResult:
        """Carry out the jobs.

        A report has one row for each job of its run. So jobs to be retried that have their row in
        the resumed run are carried out in a new run, as soon as that one has ended.

        Raises:
            OrchestratorError: If the ledger or the report cannot be written, or a source is faulty.
        """
        result = await self._carry_out()
        if result.is_over and (keep := self.manifest.keep_reports) is not None:
            runs = await self.ports.ledger.runs(keep + _RUNS_BEHIND)
            delete_old_reports(runs, self.manifest.name, keep)
        return result

    async def _run_once(self, specs: AsyncGenerator[list[JobSpec]]) -> RunResult:
        result = await self.runner.run(specs)
        stems = stems_of(self.manifest, self._options)
        summary = replace(summary_of(self.manifest, result), stems=stems)
        self.summaries.append(summary)
        await note_run(self.ports.ledger, summary)
        await note_pace(self.ports.ledger, result.run, self._pace.as_dict())
        return result

    async def _carry_out(self) -> RunResult:
        first = await self._run_once(self._noted(self.feed))
        if not first.kept_back or not first.is_over or first.stopped is not None:
            return first
        if self.manifest.is_read_once:
            jobs = counted(first.kept_back, "finished job")
            verb = "was" if first.kept_back == 1 else "were"
            why = "standard input or a pipe cannot be read twice"
            text = f"{jobs} {verb} not retried: {why}. Run again with --retry."
            self.ports.sink.emit(Noticed(text))
            return first
        if first.canary is not None and first.canary.succeeded >= self._canary:
            self._canary = 0  # it has passed
        self.runner = self._next_runner(self.ports.clock.monotonic() - self._began_at)
        second = await self._run_once(self.feed.specs())  # its remarks were shown
        calls = first.calls + second.calls
        canary = second.canary or first.canary
        return replace(
            second, calls=calls, started_at=first.started_at, canary=canary, before=first
        )

    async def _noted(self, feed: Feed) -> AsyncGenerator[list[JobSpec]]:
        """Yield the jobs of a feed; notify about other ledgers that know the first, and sources."""
        location = ledger_path(self.manifest, self._options.ledger)
        others = OtherLedgers(self.manifest, location, self.ports.ledger)
        async with contextlib.aclosing(feed.specs()) as batches:
            async for specs in batches:
                if others.wants_more:
                    await others.look(specs)
                    for remark in others.remarks():
                        self.ports.sink.emit(Noticed(remark))
                yield specs
        for remark in feed.found.remarks:
            self.ports.sink.emit(Noticed(remark))

    def report_of(self, run: Run) -> ReportFile:
        """Return the report of a run, as this manifest wants it."""
        manifest = self.manifest
        return ReportFile(
            Path(run.report),
            run,
            self.ports.ledger,
            with_skipped=manifest.reports_all,
            folder_of=bucket_folders(manifest, ledger_path(manifest, self._options.ledger)),
        )

    def _next_runner(self, used_s: float) -> Runner:
        """Return a runner; the budget and the ``used_s`` seconds of this session count."""
        manifest, options = self.manifest, self._options
        ledger, deadline_s = ledger_path(manifest, options.ledger), options.deadline_s
        if deadline_s is None:
            deadline_s = manifest.budget.deadline_s
        return Runner(
            self.ports,
            RunnerOptions(
                name=manifest.name,
                report=report_path(manifest, options),
                # The host that began the run may keep its report under another path.
                moves_report=options.report is not None or is_address(ledger),
                reports_all=manifest.reports_all,
                folder_of=bucket_folders(manifest, ledger),
                retry=options.retry,
                verify_done=options.verify_done,
                skip_existing=options.skip_existing or manifest.skip_existing,
                budget=self._budget,
                deadline_s=None if deadline_s is None else round(max(deadline_s - used_s, 0.0), 3),
                window=manifest.window,
                lookback_s=manifest.lookback_s,
                is_whole=options.selection is None or options.selection.is_whole,
                manifest=manifest_id(manifest, ledger),
                exists=partial(has_manifest, ledger),
                leftovers=manifest.leftovers,
                canary=self._canary,
                progress=self._progress,
            ),
        )

    def facts(self) -> dict[str, Any]:
        """Return calls and pace of the present run until now, ready for JSON."""
        return {"calls": asdict(self.runner.calls), "pace": self._pace.as_dict()}

    def _progress(self) -> dict[str, Any]:
        """Return how the run stands now, for each of its heartbeats."""
        self._pace.note_rate()
        return self.tally.snapshot().as_dict()


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
        EngineMissing: If the service is this machine, and it cannot separate.
        CredentialsMissing: If it is another one, and there is no key pair.
        ConfigError: If the address for callbacks or for the live page cannot be listened on, or a
            folder of stems cannot be written to.
        ReportError: If the report cannot be written.
        OrchestratorError: See ``open_service`` and ``hold_ledger``.
    """
    clock = clock or SystemClock()
    location = ledger_path(manifest, options.ledger)
    name, place = service_name(manifest, location), service_place(manifest, location)
    sinks = Sinks() if sink is None else Sinks(sink)

    def waiting(text: str) -> None:
        sinks.emit(Noticed(text))

    async with (
        _prepared(manifest, options, location),
        hold_ledger(location, name, clock, place, waiting if options.wait else None) as ledger,
        _ready_service(manifest, location, clock) as service,
    ):
        await remember_place(ledger, service_place(manifest, location))
        ports = ports_of(manifest, options, ledger, service, sink=sinks, clock=clock)
        async with (
            share_limits(manifest, location, ports, clock),
            _open_lists(manifest, location, ports) as lists,
            ready_session(manifest, options, ports, lists) as session,
            _shown_live(session, options, location, sinks),
        ):
            yield session


@contextlib.asynccontextmanager
async def _prepared(manifest: Manifest, options: RunOptions, location: str) -> AsyncIterator[None]:
    """Check what a run may be refused for, so that a refused run leaves nothing behind."""
    with prepared_report(Path(report_path(manifest, options)), has_page=manifest.writes_page):
        check_means(manifest)
        if options.live is not None:
            await check_address("--live", options.live.host, options.live.port)
        # Otherwise the run that holds the ledger may be the reason. It is checked again later.
        is_new = not ledger_exists(location)
        if is_new and nearest_folder(ledger_file(location).parent).is_dir():
            check_outputs(manifest, location)
            if options.callbacks is not None:
                address = options.callbacks
                await check_address("--callback-listen", address.host, address.port)
        yield


@contextlib.asynccontextmanager
async def _shown_live(
    session: Session, options: RunOptions, location: str, sinks: Sinks
) -> AsyncIterator[None]:
    """Show the run of a session at the address of ``--live``, if there is one."""
    if options.live is None:
        yield
        return
    from orchestrator.commands.live import live

    shown = live(
        options.live,
        session.manifest,
        session.ports,
        session.tally,
        session.facts,
        location,
    )
    async with contextlib.AsyncExitStack() as stack:
        try:
            sinks.add(await stack.enter_async_context(shown))
        except ConfigError as error:
            # The address was free before this run waited for its turn. A page is not worth a run.
            sinks.emit(Noticed(f"The run continues without its live page. {error}"))
        yield


@contextlib.asynccontextmanager
async def _ready_service(
    manifest: Manifest, ledger: str, clock: Clock
) -> AsyncIterator[CloudService]:
    """Prepare the folders of the stems, and open the service."""
    check_outputs(manifest, ledger)
    make_outputs(manifest, ledger)
    async with open_service(manifest, ledger, clock) as service:
        yield service


@contextlib.asynccontextmanager
async def _open_lists(manifest: Manifest, ledger: str, ports: Ports) -> AsyncIterator[ObjectStore]:
    """Open the storage where prefixes are listed.

    The folder of a local service says, unlike the service, which of its files are not objects.
    """
    if isinstance(manifest.service, LocalServiceSettings):
        async with open_store(manifest, ledger, ports.clock) as store:
            yield store
    else:
        yield ports.store


@contextlib.asynccontextmanager
async def ready_session(
    manifest: Manifest, options: RunOptions, ports: Ports, lists: ObjectStore
) -> AsyncIterator[Session]:
    """Make a session over open ports; listen for callbacks if the options say so.

    Raises:
        ConfigError: If the address for callbacks cannot be listened on.
    """
    session = Session(manifest, options, ports, lists)
    async with _listening(options.callbacks, ports.ledger, session.hint) as callback:
        session.callback = callback
        yield session


@contextlib.asynccontextmanager
async def _listening(
    address: CallbackAddress | None, ledger: Ledger, hint: Callable[[str], None]
) -> AsyncIterator[Callback | None]:
    """Listen for callbacks; yield the callback that jobs carry so that the service calls here.

    The unguessable part of its address stays the same from run to run: jobs that are still at the
    service call the address that they were sent with.
    """
    if address is None:
        yield None
        return
    from orchestrator.client.callback_listener import CallbackListener, new_token

    token = (await ledger.recall("callback.token") or new_token().encode()).decode()
    await ledger.remember("callback.token", token.encode())
    async with CallbackListener(address.host, address.port, token, hint) as listener:
        host = f"[{address.host}]" if ":" in address.host else address.host
        base = address.url or f"http://{host}:{listener.port}"
        yield Callback(url=f"{base.rstrip('/')}/{token}", format="JSON")


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that was carried out.

    Attributes:
        result: Its result.
        summaries: Summaries of it, and before it of the open run that was finished first.
        complaints: Sentences about pages that could not be written and notifications that could
            not be sent.
    """

    result: RunResult
    summaries: list[Summary]
    complaints: list[str]


async def carry_out(
    source: ManifestSource,
    options: RunOptions,
    *,
    sink: EventSink | None = None,
    while_open: Callable[[Session], AbstractContextManager[None]] = lambda _: nullcontext(),
) -> Finished:
    """Run a manifest to its end, and notify those whom it names.

    Args:
        source: The manifest.
        options: Choices beside it.
        sink: Receives every event.
        while_open: Called with the session; its context holds while the run works.

    Raises:
        OrchestratorError: If the run cannot begin, or the ledger or the report cannot be written.
    """
    manifest = source.load(to_run=True)
    check_notify(manifest)
    try:
        async with open_session(manifest, options, sink=sink) as session:
            with while_open(session):
                result = await session.run()
    except OrchestratorError as error:
        await notify(manifest, Outcome(manifest.name, int(of_error(error)), reason=str(error)))
        raise
    summaries, complaints = await _with_pages(source, manifest, options, session.summaries)
    last = summaries[-1]
    outcome = Outcome(
        manifest.name,
        last.exit_code,
        last.as_dict(),
        last.stopped,
        failures_of(result, FAILURES_LISTED) if manifest.notify else (),
    )
    return Finished(result, summaries, complaints + await notify(manifest, outcome))


async def _with_pages(
    source: ManifestSource, manifest: Manifest, options: RunOptions, summaries: list[Summary]
) -> tuple[list[Summary], list[str]]:
    """Write the pages of the runs, if the manifest wants them; the run itself has ended.

    Returns:
        The summaries with the paths of the pages, and sentences about those that failed.
    """
    if not manifest.writes_page:
        return summaries, []
    from orchestrator.commands.page import write_beside

    found, complaints = [], []
    for summary in summaries:
        try:
            path, _ = await write_beside(source, summary.run, ledger=options.ledger)
            found.append(replace(summary, page=str(path)))
        except OrchestratorError as error:
            complaints.append(str(error))
            found.append(summary)
    return found, complaints


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
        service: ``local`` or ``tencent`` instead of the manifest's service.
        sets: Values for its ``params``.
        options: Ledger, report, budgets.
        sink: Receives every event.

    Returns:
        The result: ``result.counts``, ``result.run.report`` and more.

    Raises:
        OrchestratorError: If the run cannot be carried out, also if it had to stop on the way:
            refused credentials, a missing bucket, a full disk. The ledger has what was done; run
            again to resume. Failed jobs are counted, not raised.
    """
    source = ManifestSource(Path(path), service, sets or {})
    finished = await carry_out(source, options or RunOptions(), sink=sink)
    for text in finished.complaints:
        _logger.warning(text)
    if finished.result.error is not None:
        raise finished.result.error
    return finished.result


def failures_of(result: RunResult, at_most: int) -> list[dict[str, Any]]:
    """Return the first rows of the report whose jobs did not succeed; none if it is not readable.

    From the report and not from the events: failures before a run was resumed count, too.
    """
    found: list[dict[str, Any]] = []
    report = present_report(Path(result.run.report))
    with contextlib.suppress(OSError, orjson.JSONDecodeError), open_report(report) as file:
        for text in file:
            row = orjson.loads(text)
            if row["state"] not in WELL:
                found.append(row)
            if len(found) == at_most:
                break
    return found
