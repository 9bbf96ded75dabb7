"""Wires the stages: the only file to read for concurrency.

The way of a job, each arrow a call that is made here and nowhere else::

    feed -> Intake -> Dispatcher -> Submitter -> Tracker -> Verifier -> report
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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobEnded, RunStarted
from orchestrator.domain.remote import JobFilter
from orchestrator.domain.states import REMOTE, TERMINAL, JobState
from orchestrator.errors import (
    InternalDefect,
    Interruption,
    LedgerError,
    OrchestratorError,
    ProtocolError,
    ReportError,
)
from orchestrator.reporting.report_file import Calls, ReportFile
from orchestrator.runner.budget import Bounds, Budget
from orchestrator.runner.deadlines import watch_deadline, watch_window
from orchestrator.runner.heartbeat import Pulse
from orchestrator.runner.intake import Intake
from orchestrator.runner.result import RunResult
from orchestrator.runner.settler import Settler
from orchestrator.runner.shutdown import Ending, first_of
from orchestrator.runner.submitting.circuit_breaker import Breaker
from orchestrator.runner.submitting.dispatcher import Dispatcher
from orchestrator.runner.submitting.submitter import Submitter
from orchestrator.runner.tracking.tracker import Tracker
from orchestrator.runner.verifier import Verifier

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Counts, Run
    from orchestrator.domain.spec import JobSpec, Place
    from orchestrator.runner.deadlines import OpenHours
    from orchestrator.runner.ports import Parts


_SETTLE_GRACE_S = 60.0  # how long beyond the settle delay a run that stops waits for jobs in doubt


class Engine:
    """Carries out one visit to a run.

    Args:
        parts: The ports.
        name: Name of the manifest, for the run's id.
        report: Path of the report; ``{run}`` in it becomes the run's id.
        moves_report: A run that is continued writes to ``report`` too, all its rows, instead of going on where it began to.
        retry: States of jobs of earlier runs that are asked for again.
        verify_done: Look whether the stems of jobs that are done are still there, and make again those that are not.
        budget: What this visit may spend; without one, as much as it takes.
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
        moves_report: bool = False,
        retry: Collection[JobState] = (),
        verify_done: bool = False,
        budget: Budget | None = None,
        deadline_s: float | None = None,
        window: OpenHours | None = None,
        is_whole: bool = True,
    ) -> None:
        self._parts = parts
        self._name = name
        self._report_path = report
        self._moves_report = moves_report
        self._retry = retry
        self._verify_done = verify_done
        self._budget = budget or Budget(Bounds())
        self._deadline_s = deadline_s
        self._window = window
        self._is_whole = is_whole
        self._planned_all = False
        self._ended_jobs = 0
        self._stuck = 0  # jobs in doubt that the service does not let us settle
        self._unseen: set[int] = (
            set()
        )  # jobs that an earlier visit left under way, and that the feed has not named so far
        self._aside: dict[
            int, Job
        ] = {}  # those of them that are planned again: they are sent only if the feed names them
        self._place: Place | None = None  # a bucket to ask about, when probing
        self._on_hint: Callable[[str], None] = lambda _: None
        self._changed = asyncio.Event()  # something happened that may have been the last thing
        self._ending = Ending(parts.sink, self._changed.set)

    # --- from outside

    def stop(self, why: Interruption) -> None:
        """Stop in order: send nothing more, record what is on the wire, leave remote jobs running. The first reason counts.

        A run that stops by itself, and waits for what is in doubt, stops waiting when it is interrupted.
        """
        self._ending.stop(why)

    def hint(self, job_id: str) -> None:
        """Somebody says that a job has ended; it is looked at soon. Before the run is at work, nobody listens."""
        self._on_hint(job_id)

    @property
    def in_memory(self) -> int:
        """Jobs that are held in memory now; the others wait in the ledger."""
        return self._dispatcher.backlog.in_memory + self._dispatcher.in_flight

    async def run(self, feed: AsyncGenerator[list[JobSpec]]) -> RunResult:
        """Carry out the jobs of ``feed``, and those that an earlier visit left open.

        Raises:
            OrchestratorError: If the ledger or the report cannot be written, or the manifest turned out to be faulty on the way.
        """
        parts = self._parts
        started_at = parts.clock.now()
        run = await parts.ledger.begin_run(self._name, started_at, self._report_path)
        if self._moves_report:
            run = replace(run, report=self._report_path.replace("{run}", run.id))
        parts.sink.emit(RunStarted(run.id, run.report, run.resumed))
        self._build(run)
        await self._report.open()
        await self._pulse.restore()
        try:
            await self._work(feed)
            await (
                self._catch_up()
            )  # rows of jobs that were being recorded when the run was told to stop
            await self._pulse.beat()
            result = self._result(run, await parts.ledger.counts(run), started_at)
            if result.is_over:
                await parts.ledger.end_run(run, parts.clock.now())
        finally:
            self._report.close()
        return result

    def _result(self, run: Run, counts: Counts, started_at: float) -> RunResult:
        calls = Calls(
            self._submitter.sent,
            self._tracker.queries,
            self._settler.listings,
            self._verifier.heads,
        )
        return RunResult(
            run,
            counts,
            calls,
            started_at,
            self._parts.clock.now(),
            self._ending.why,
            self._ending.error,
            self._planned_all and not self._aside,
            self._intake.kept_back,
        )

    # --- wiring

    def _build(self, run: Run) -> None:
        parts = self._parts
        self._run = run
        self._report = ReportFile(Path(run.report), run, parts.ledger, parts.off_loop)
        breaker = Breaker(parts.settings, parts.rng)
        self._verifier = Verifier(parts, record=self._record, on_ended=self._ended)
        self._tracker = Tracker(
            parts,
            record=self._record,
            on_done=self._verifier.put,
            on_returned=self._returned,
            on_ended=self._ended,
            on_lost=lambda job: self._settler.put(job),  # noqa: PLW0108 - it is built next
            on_fatal=self._ending.fatal,
        )
        self._on_hint = self._tracker.hint
        self._settler = Settler(
            parts,
            record=self._record,
            on_found=lambda job: self._tracker.put(job, at_once=True),
            on_absent=self._returned,
            on_ended=self._ended,
            on_stuck=self._leave_in_doubt,
            on_fatal=self._ending.fatal,
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
            on_fatal=self._ending.fatal,
        )
        self._dispatcher = Dispatcher(
            parts,
            run=run,
            breaker=breaker,
            intend=self._intend,
            room=lambda: self._submitter.room,
            send=self._submitter.put,
            probe=self._probe,
            may_send=self._may_send,
            on_quiet=self._changed.set,
        )
        self._intake = Intake(
            parts,
            run,
            retry=self._retry,
            verify_done=self._verify_done,
            is_whole=self._is_whole,
            record=self._record,
            expect=self._dispatcher.backlog.expect,
            until_wanted=self._dispatcher.until_wanted,
            on_jobs=self._sort_in,
            on_under_way=self._take_up,
            on_dropped=self._catch_up,
        )
        self._pulse = Pulse(parts, lambda: self._ended_jobs, self._report.checkpoint)

    async def _work(self, feed: AsyncGenerator[list[JobSpec]]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await self._intake.resume()
                tasks = [group.create_task(loop) for loop in self._loops(feed)]
                await self._until_over()
                await self._dispatcher.stop()
                await self._submitter.drain()
                await self._settle_before_leaving()
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as group_error:
            raise first_of(group_error) from group_error

    def _loops(self, feed: AsyncGenerator[list[JobSpec]]) -> list[Coroutine[object, object, None]]:
        """All that goes on at the same time. Without what is not guarded a run cannot even end in order."""
        settings = self._parts.settings
        return [
            self._take_in(feed),
            self._dispatcher.run(),
            *(self._submitter.send_loop() for _ in range(settings.connections)),
            self._submitter.record_loop(),
            self._ending.guard(self._settler.run),
            self._ending.guard(self._tracker.run),
            *(self._ending.guard(self._verifier.run) for _ in range(settings.heads)),
            self._ending.guard(self._pulse.run),
            watch_deadline(self._parts, self._deadline_s, self.stop),
            watch_window(self._parts, self._window, self.stop),
        ]

    async def _until_over(self) -> None:
        """Return when every job has ended, or the run was stopped."""
        while self._ending.why is None:
            if self._planned_all and self._aside:
                self._aside.clear()
                await self._intake.drop()
            elif self._is_over():
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    async def _settle_before_leaving(self) -> None:
        """A run that stops by itself brings what is in doubt to an end first; one that is interrupted, or refused, leaves at once."""
        if self._ending.why is None or self._ending.hurried.is_set():
            return
        settings = self._parts.settings
        ends = [
            asyncio.ensure_future(self._settler.drain()),
            asyncio.ensure_future(self._ending.hurried.wait()),
        ]
        try:
            longest_s = settings.settle_s + settings.reply_timeout_s + _SETTLE_GRACE_S
            await asyncio.wait(ends, timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    def _is_over(self) -> bool:
        return (
            self._planned_all
            and self._dispatcher.backlog.is_empty
            and self._dispatcher.in_flight <= self._stuck
        )

    # --- edges

    async def _take_in(self, feed: AsyncGenerator[list[JobSpec]]) -> None:
        try:
            await self._intake.take(feed)
        except LedgerError:
            raise
        except OrchestratorError as error:
            self._ending.fatal(error)
        except Exception as error:  # noqa: BLE001 - whatever a source did: the jobs that are under way must not suffer from it
            self._ending.fatal(InternalDefect(error))
        else:
            self._planned_all = True
            self._changed.set()

    def _sort_in(self, jobs: Sequence[Job]) -> None:
        """Jobs of the manifest: to the report, to the ready queue, or to be followed, as they stand."""
        if self._unseen or self._aside:
            jobs = [self._seen(job) for job in jobs]
        self._write_rows([job for job in jobs if job.row])
        self._dispatcher.add(job for job in jobs if job.state is JobState.PLANNED)
        for job in jobs:
            if job.state in REMOTE:
                self._follow(job)
        self._dispatcher.backlog.has_arrived()
        self._changed.set()

    def _seen(self, job: Job) -> Job:
        """The feed names this job. If it was put aside while the ledger was read, what we have is newer."""
        self._unseen.discard(job.id)
        aside = self._aside.pop(job.id, None)
        return job if aside is None or job.state is JobState.PLANNED else aside

    def _take_up(self, job: Job) -> None:
        """Take a job that an earlier visit left under way, whether or not the feed will name it."""
        self._unseen.add(job.id)
        self._follow(job)

    def _follow(self, job: Job) -> None:
        """Take a job that is, or may be, at the service already."""
        if self._dispatcher.occupy(job):
            if job.state is JobState.IN_DOUBT:
                self._settler.put(job, is_orphan=True)
            else:
                self._tracker.put(job, at_once=True)

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
            return not (
                error.retryable or isinstance(error, ProtocolError)
            )  # a page of somebody in between is no answer
        return True

    async def _intend(self, jobs: Sequence[Job]) -> None:
        """Record that these are about to be sent."""
        await self._parts.ledger.intend(jobs)
        self._place = jobs[-1].spec.media.place

    async def _record(self, jobs: Sequence[Job]) -> None:
        """Save; then write the rows of those that ended."""
        await self._parts.ledger.save(jobs)
        self._write_rows([job for job in jobs if job.state in TERMINAL])

    def _write_rows(self, jobs: Sequence[Job]) -> None:
        """Write the rows of these jobs.

        A report that cannot be written stops the run in order: the ledger has the rows, and answers that are on their way are still heard.
        """
        try:
            self._report.offer(jobs)
        except ReportError as error:
            self._ending.fatal(error)

    async def _catch_up(self) -> None:
        """Write the rows that the ledger has and the report lacks."""
        try:
            await self._report.catch_up()
        except ReportError as error:
            self._ending.fatal(error)

    def _returned(self, job: Job) -> None:
        self._budget.release(job)
        if job.id not in self._unseen:
            self._dispatcher.give_back(job)
            return
        # Perhaps it has left the manifest: then it must not be paid for.
        self._aside[job.id] = job
        self._dispatcher.release(job)
        self._changed.set()

    def _ended(self, job: Job) -> None:
        self._ended_jobs += 1
        self._unseen.discard(job.id)
        self._budget.ended(job)
        self._dispatcher.ended(job)
        started = job.submitted_at or job.intent_at
        # The service tells whole seconds: a quick job seems to end before it was accepted.
        took_s = (
            max(job.finished_at - started, 0.0)
            if job.finished_at is not None and started is not None
            else None
        )
        self._parts.sink.emit(
            JobEnded(job.spec.key, job.spec.media.key, job.state, job.code, job.message, took_s)
        )
        self._changed.set()

    def _leave_in_doubt(self, _job: Job) -> None:
        self._stuck += 1
        self._changed.set()
