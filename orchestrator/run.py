"""Wires the stages: the only file to read for concurrency.

The way of a job, each arrow a call that is made here and nowhere else::

    feed -> ledger.add -> Dispatcher -> Submitter -> Tracker -> Verifier -> report
                              ^             |  |        |          |
                              |   returned  |  |        |          |
                              +-------------+  v        |          |
                              +----------- Settler -----+          |
                              +------- passing failure -+          v
                                                              slot is free

Every stage saves through :meth:`Engine._record`, which returns when the change is durable. A stop (signal,
deadline, budget, refused credentials) stops the dispatcher, lets the submitter finish and record what is on the wire, and leaves
remote jobs running: the ledger is the truth, and running again goes on from it. Nothing depends on a clean exit.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestrator.budget import Bounds, Budget
from orchestrator.dispatch import Dispatcher
from orchestrator.errors import Interruption, OrchestratorError
from orchestrator.events import JobEnded, JobsPlanned, PlanFinished, RunStarted, Stopping
from orchestrator.model import JobFilter
from orchestrator.report import Calls, ReportFile, instant
from orchestrator.retry import Breaker
from orchestrator.settle import Settler
from orchestrator.states import OPEN, REMOTE, TERMINAL, JobState, Step
from orchestrator.submit import Submitter
from orchestrator.track import Tracker
from orchestrator.verify import Verifier, lost_stems

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Coroutine, Sequence

    from orchestrator.model import Counts, Job, JobSpec, Place, Run
    from orchestrator.ports import Parts


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a visit to a run ended.

    Attributes:
        run: The run.
        counts: Its jobs by state.
        calls: Requests made by this visit.
        started_at: When this visit began.
        ended_at: When it ended.
        stopped: Why it stopped before all jobs had ended, or None.
        error: What stopped it, if that was an error.
    """

    run: Run
    counts: Counts
    calls: Calls
    started_at: float
    ended_at: float
    stopped: Interruption | None = None
    error: OrchestratorError | None = None

    @property
    def is_complete(self) -> bool:
        """Every job of the run has ended."""
        return not self.counts.of(*OPEN)


_UNHURRIED = frozenset({"budget", "deadline", "window"})


class OpenHours(Protocol):
    """When jobs may be sent."""

    def is_open(self, now: float) -> bool:
        """Whether they may at this instant."""
        ...

    def next_change(self, now: float) -> float:
        """The first instant after ``now`` at which that changes."""
        ...


_CLOCK_STEP_S = 60.0  # how late a closing window may be noticed if the clock is set meanwhile
_SETTLE_GRACE_S = 60.0  # how long beyond the settle delay a run that stops waits for jobs in doubt


class Engine:
    """Carries out one visit to a run.

    Args:
        parts: The ports.
        name: Name of the manifest, for the run's id.
        report: Path of the report; ``{run}`` in it becomes the run's id.
        retry: States of jobs of earlier runs that are asked for again.
        verify_done: Look whether the stems of jobs that are done are still there, and make again those that are not.
        bounds: What this visit may spend.
        deadline_s: How long this visit may last, or None.
        window: The hours in which jobs may be sent, or None for any time.
        is_whole: The feed is the whole manifest: what it does not name has left it.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        name: str,
        report: str,
        retry: Collection[JobState] = (),
        verify_done: bool = False,
        bounds: Bounds | None = None,
        deadline_s: float | None = None,
        window: OpenHours | None = None,
        is_whole: bool = True,
    ) -> None:
        self._parts = parts
        self._name = name
        self._report_path = report
        self._retry = retry
        self._verify_done = verify_done
        self._budget = Budget(bounds or Bounds())
        self._deadline_s = deadline_s
        self._window = window
        self._is_whole = is_whole
        self._stopped: Interruption | None = None
        self._error: OrchestratorError | None = None
        self._stop = asyncio.Event()
        self._planned_all = False
        self._stuck = 0  # jobs in doubt that the service does not let us settle
        self._place: Place | None = None  # a bucket to ask about, when probing
        self._changed = asyncio.Event()  # something happened that may have been the last thing

    # --- from outside

    def stop(self, why: Interruption, error: OrchestratorError | None = None) -> None:
        """Stop in order: send nothing more, record what is on the wire, leave remote jobs running. The first reason counts."""
        if self._stopped is None:
            self._stopped, self._error = why, error
            self._parts.sink.emit(Stopping(why.reason))
            self._stop.set()

    def hint(self, job_id: str) -> None:
        """Somebody says that a job has ended; it is looked at soon."""
        self._tracker.hint(job_id)

    async def run(self, feed: AsyncGenerator[list[JobSpec]]) -> RunResult:
        """Carry out the jobs of ``feed``, and those that an earlier visit left open.

        Raises:
            OrchestratorError: If the ledger or the report cannot be written, or the manifest turned out to be faulty on the way.
        """
        parts = self._parts
        started_at = parts.clock.now()
        run = await parts.ledger.begin_run(self._name, started_at, self._report_path)
        parts.sink.emit(RunStarted(run.id, run.report, run.resumed))
        self._build(run)
        await self._report.open()
        try:
            await self._work(feed)
            counts = await parts.ledger.counts(run)
            if not counts.of(*OPEN) and self._stopped is None:
                await parts.ledger.end_run(run, parts.clock.now())
        finally:
            self._report.close()
        return RunResult(run, counts, self._calls(), started_at, parts.clock.now(), self._stopped, self._error)

    # --- wiring

    def _build(self, run: Run) -> None:
        parts = self._parts
        self._run = run
        self._report = ReportFile(Path(run.report), run, parts.ledger)
        breaker = Breaker(parts.settings, parts.rng)
        self._verifier = Verifier(parts, record=self._record, on_ended=self._ended)
        self._tracker = Tracker(
            parts,
            record=self._record,
            on_done=self._verifier.put,
            on_returned=self._returned,
            on_ended=self._ended,
            on_fatal=self._fatal,
        )
        self._settler = Settler(
            parts,
            record=self._record,
            on_found=lambda job: self._tracker.put(job, at_once=True),
            on_absent=self._returned,
            on_ended=self._ended,
            on_stuck=self._leave_in_doubt,
            on_fatal=self._fatal,
        )
        self._submitter = Submitter(
            parts,
            breaker=breaker,
            record=self._record,
            on_accepted=self._tracker.put,
            on_returned=self._returned,
            on_in_doubt=self._settler.put,
            on_ended=self._ended,
            on_room=lambda: self._dispatcher.nudge(),  # noqa: PLW0108 - it is built next
            on_pause=lambda delay_s, reason: self._dispatcher.pause(delay_s, reason),  # noqa: PLW0108 - the same
            on_fatal=self._fatal,
        )
        self._dispatcher = Dispatcher(
            parts,
            run=run,
            breaker=breaker,
            record=self._record,
            room=lambda: self._submitter.room,
            send=self._submitter.put,
            probe=self._probe,
            may_send=self._may_send,
            on_quiet=self._changed.set,
        )

    async def _work(self, feed: AsyncGenerator[list[JobSpec]]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await self._resume()
                tasks = [group.create_task(loop) for loop in self._loops(feed)]
                await self._until_over()
                await self._dispatcher.stop()
                await self._submitter.drain()
                await self._settle_before_leaving()
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as group_error:
            raise _first(group_error) from group_error

    def _loops(self, feed: AsyncGenerator[list[JobSpec]]) -> list[Coroutine[object, object, None]]:
        """All that goes on at the same time."""
        settings = self._parts.settings
        return [
            self._plan(feed),
            self._dispatcher.run(),
            *(self._submitter.send_loop() for _ in range(settings.connections)),
            self._submitter.record_loop(),
            self._settler.run(),
            self._tracker.run(),
            *(self._verifier.run() for _ in range(settings.heads)),
            self._heartbeat(),
            self._watch_deadline(),
            self._watch_window(),
        ]

    async def _until_over(self) -> None:
        """Return when every job has ended, or the run was stopped."""
        while not self._stop.is_set() and not self._is_over():
            self._changed.clear()
            waiters = [asyncio.ensure_future(event.wait()) for event in (self._changed, self._stop)]
            try:
                await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for waiter in waiters:
                    waiter.cancel()

    async def _settle_before_leaving(self) -> None:
        """A run that stops by itself brings what is in doubt to an end first; one that is interrupted, or refused, leaves at once."""
        if self._stopped is None or self._stopped.kind not in _UNHURRIED:
            return
        settings = self._parts.settings
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.settle_s + settings.reply_timeout_s + _SETTLE_GRACE_S):
                await self._settler.drain()

    def _is_over(self) -> bool:
        return self._planned_all and self._dispatcher.is_idle and self._dispatcher.in_flight <= self._stuck

    # --- stages that are too small for a file

    async def _resume(self) -> None:
        """Take up what was under way when the last visit ended, however it ended."""
        ledger = self._parts.ledger
        after_id = 0
        wanted = {JobState.SUBMITTING, JobState.IN_DOUBT, *REMOTE}
        while jobs := await ledger.in_states(wanted, after_id):
            after_id = jobs[-1].id
            lost = [job for job in jobs if job.state is JobState.SUBMITTING]
            for job in lost:
                job.step(Step.LOSE_ANSWER)
                job.message = "The run ended between the request and the record of its answer."
            if lost:
                await self._record(lost)
            for job in jobs:
                self._follow(job)

    def _follow(self, job: Job) -> None:
        """Take a job that is, or may be, at the service already."""
        if self._dispatcher.occupy(job):
            if job.state is JobState.IN_DOUBT:
                self._settler.put(job, is_orphan=True)
            else:
                self._tracker.put(job, at_once=True)

    async def _plan(self, feed: AsyncGenerator[list[JobSpec]]) -> None:
        """Make the specs of the manifest jobs of the run, as they come."""
        ledger, sink = self._parts.ledger, self._parts.sink
        total = 0
        try:
            async with contextlib.aclosing(feed):
                async for specs in feed:
                    self._dispatcher.expect()
                    jobs = await self._add(specs)
                    total += len(jobs)
                    self._take_planned(jobs)
                    sink.emit(_tally(jobs))
                    if self._stop.is_set():
                        return
        except OrchestratorError as error:
            self.stop(Interruption("error", str(error)), error)
            return
        dropped = await ledger.drop_unseen(self._run, self._parts.clock.now()) if self._is_whole else 0
        if dropped:
            await self._report.catch_up()
        sink.emit(PlanFinished(total, dropped))
        self._planned_all = True
        self._changed.set()

    async def _add(self, specs: list[JobSpec]) -> list[Job]:
        ledger = self._parts.ledger
        if not self._verify_done:
            return await ledger.add(self._run, specs, self._retry)
        gone = await lost_stems(ledger, self._parts.store, specs, self._parts.settings.heads)
        again = [spec for spec in specs if spec.key in gone]
        rest = [spec for spec in specs if spec.key not in gone]
        jobs = await ledger.add(self._run, again, {JobState.SUCCEEDED, *self._retry}) if again else []
        return [*jobs, *await ledger.add(self._run, rest, self._retry)]

    def _take_planned(self, jobs: Sequence[Job]) -> None:
        self._report.offer(job for job in jobs if job.row)
        self._dispatcher.add(job for job in jobs if job.state is JobState.PLANNED)
        for job in jobs:
            if job.state in REMOTE:
                self._follow(job)
        self._changed.set()

    async def _heartbeat(self) -> None:
        while True:
            await self._parts.clock.sleep(self._parts.settings.heartbeat_s)
            await self._parts.ledger.heartbeat(self._parts.clock.now())

    async def _watch_deadline(self) -> None:
        if self._deadline_s is not None:
            await self._parts.clock.sleep(self._deadline_s)
            self.stop(Interruption("deadline", f"the deadline of {self._deadline_s:g} s is reached"))

    async def _watch_window(self) -> None:
        window, clock = self._window, self._parts.clock
        while window is not None and window.is_open(clock.now()):
            # In short steps: the machine's clock may be set, and laptops sleep.
            await clock.sleep(min(max(window.next_change(clock.now()) - clock.now(), 0.0), _CLOCK_STEP_S))
        if window is not None:
            opens_at = instant(window.next_change(clock.now()))
            self.stop(Interruption("window", f"the window {window} is closed; it opens at {opens_at}"))

    def _may_send(self, job: Job) -> bool:
        refusal = self._budget.refusal(job)
        if refusal is not None:
            self.stop(Interruption("budget", refusal))
            return False
        self._budget.reserve(job)
        return True

    async def _probe(self) -> bool:
        """Ask the service for something that costs nothing. Any answer will do."""
        if self._place is None:
            return True
        try:
            await self._parts.service.list_jobs(self._place, JobFilter(size=1))
        except OrchestratorError as error:
            return not error.retryable
        return True

    # --- edges

    async def _record(self, jobs: Sequence[Job]) -> None:
        """Save; then write the rows of those that ended."""
        await self._parts.ledger.save(jobs)
        if jobs:
            self._place = jobs[-1].spec.media.place
        self._report.offer(job for job in jobs if job.state in TERMINAL)

    def _returned(self, job: Job) -> None:
        self._budget.release(job)
        self._dispatcher.give_back(job)

    def _ended(self, job: Job) -> None:
        self._budget.ended(job)
        self._dispatcher.ended(job)
        started = job.submitted_at or job.intent_at
        # The service tells whole seconds: a quick job seems to end before it was accepted.
        took_s = max(job.finished_at - started, 0.0) if job.finished_at is not None and started is not None else None
        self._parts.sink.emit(JobEnded(job.spec.key, job.spec.media.key, job.state, job.code, job.message, took_s))
        self._changed.set()

    def _leave_in_doubt(self, _job: Job) -> None:
        self._stuck += 1
        self._changed.set()

    def _fatal(self, error: OrchestratorError) -> None:
        self.stop(Interruption("error", str(error)), error)

    def _calls(self) -> Calls:
        return Calls(self._submitter.sent, self._tracker.queries, self._settler.listings, self._verifier.heads)


def _tally(jobs: Sequence[Job]) -> JobsPlanned:
    new = sum(job.state is JobState.PLANNED for job in jobs)
    done = sum(job.state is JobState.SUCCEEDED for job in jobs)
    ended = sum(job.state in TERMINAL for job in jobs) - done
    return JobsPlanned(new=new, open=len(jobs) - new - done - ended, done=done, ended=ended)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that began it all: the first that is not a group."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
