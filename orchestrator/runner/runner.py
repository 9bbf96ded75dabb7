"""Runs the stages of one run side by side, and ends them: the only file to read for concurrency.

``routing`` has the way of a job from stage to stage. A stop (signal, deadline, budget, refused
credentials) stops the dispatcher, lets the submitter finish and record the requests on the wire,
and leaves remote jobs running: the ledger is the truth, and running again resumes from it. Nothing
depends on a clean exit.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.events import RunStarted
from orchestrator.errors import (
    BucketRefused,
    InternalDefect,
    Interruption,
    LedgerError,
    OrchestratorError,
)
from orchestrator.reporting.report_file import ReportFile
from orchestrator.reporting.summary import Calls
from orchestrator.runner.budget import Bounds, Budget
from orchestrator.runner.deadlines import watch_deadline, watch_window
from orchestrator.runner.heartbeat import Heartbeat
from orchestrator.runner.intake import Intake
from orchestrator.runner.result import RunResult
from orchestrator.runner.routing import Routing
from orchestrator.runner.settling.job_list import JobList
from orchestrator.runner.settling.settler import Settler
from orchestrator.runner.settling.survey import Survey
from orchestrator.runner.shutdown import Shutdown, first_of
from orchestrator.runner.submitting.canary import Canary
from orchestrator.runner.submitting.dispatcher import Dispatcher
from orchestrator.runner.submitting.gate import Gate
from orchestrator.runner.submitting.submitter import Submitter
from orchestrator.runner.tracking.tracker import Tracker
from orchestrator.runner.verifying.verifier import Verifier
from orchestrator.runner.waiting import Watch, stems_reason

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from orchestrator.domain.run import Counts, Run
    from orchestrator.domain.spec import JobSpec
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.settings import RunnerOptions


class Runner:
    """Carries out one run, or resumes it.

    Args:
        ports: The ports.
        options: What the run is about.
    """

    def __init__(self, ports: Ports, options: RunnerOptions) -> None:
        self._watch = Watch(ports.sink, ports.clock)
        ports = replace(ports, sink=self._watch)
        self._ports = ports
        self._options = options
        self._shutdown = Shutdown(ports.sink)
        self._stages: _Stages | None = None
        self._is_read = False  # nothing more comes from the manifest
        self._is_planned = False  # all of it was read

    # --- from outside

    def stop(self, why: Interruption) -> None:
        """Stop in order; the first reason counts.

        Sends nothing more, records what is on the wire and leaves remote jobs running. A run that
        stops by itself and waits for jobs in doubt stops waiting when it is interrupted.
        """
        self._shutdown.stop(why)

    def hint(self, job_id: str) -> None:
        """Query a job soon, because a callback says that it has ended. Ignored before the start."""
        if self._stages is not None:
            self._stages.tracker.hint(job_id)

    @property
    def in_memory(self) -> int:
        """Jobs that are held in memory now; the others wait in the ledger."""
        if self._stages is None:
            return 0
        dispatcher = self._stages.dispatcher
        return dispatcher.waiting + dispatcher.in_flight

    @property
    def calls(self) -> Calls:
        """Requests made until now."""
        return Calls() if self._stages is None else self._stages.calls

    async def run(self, feed: AsyncGenerator[list[JobSpec]]) -> RunResult:
        """Carry out the jobs of ``feed``, and those that were left open in the ledger.

        Raises:
            OrchestratorError: If the ledger or the report cannot be written, or the manifest turns
                out to be faulty on the way.
        """
        ports, options = self._ports, self._options
        started_at = ports.clock.now()
        run = await ports.ledger.begin_run(options.name, started_at, options.report)
        # Where the folder is gone, it was moved, and the manifest says where the report is now.
        if options.moves_report or not Path(run.report).parent.exists():
            run = replace(run, report=options.report.replace("{run}", run.id))
        stages = self._stages = _Stages(ports, run, options, self._shutdown)
        await stages.report.open()
        ports.sink.emit(RunStarted(run.id, run.report, run.resumed))
        await stages.heartbeat.restore()
        await stages.dispatcher.restore_canary()
        try:
            await self._work(stages, feed)
            # Rows of jobs that were being recorded when the run was stopped.
            await stages.routing.catch_up()
            await stages.heartbeat.beat()
            counts = await ports.ledger.counts(run)
            result = self._result(stages, run, counts, started_at)
            if not self._shutdown.hurried.is_set():
                result = replace(result, usage=await ports.ledger.usage(run))
            if result.is_over:
                await stages.report.finish()
                await ports.ledger.end_run(run, ports.clock.now())
        finally:
            stages.report.close()
        return result

    def _result(self, stages: _Stages, run: Run, counts: Counts, started_at: float) -> RunResult:
        return RunResult(
            run,
            counts,
            stages.calls,
            started_at,
            ended_at=self._ports.clock.now(),
            stopped=self._shutdown.why,
            error=self._shutdown.error,
            is_planned=self._is_planned and not stages.routing.has_aside,
            kept_back=stages.intake.kept_back,
            canary=stages.dispatcher.canary.outcome(),
        )

    # --- while it works

    async def _work(self, stages: _Stages, feed: AsyncGenerator[list[JobSpec]]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await stages.intake.resume()
                tasks = [group.create_task(loop) for loop in self._loops(stages, feed)]
                await self._until_over(stages)
                await stages.dispatcher.stop()
                await stages.submitter.drain()
                await self._settle_before_leaving(stages.settler)
                for task in tasks:
                    task.cancel()
        except BaseExceptionGroup as group_error:
            raise first_of(group_error) from group_error

    def _loops(
        self, stages: _Stages, feed: AsyncGenerator[list[JobSpec]]
    ) -> list[Coroutine[object, object, None]]:
        """Return the loops of a run. Without the unguarded ones it cannot even end in order."""
        guard, clock = self._shutdown.guard, self._ports.clock
        return [
            self._take_in(stages, feed),
            stages.dispatcher.run(),
            *(stages.submitter.send_loop() for _ in range(self._ports.settings.connections)),
            stages.submitter.record_loop(),
            guard(stages.settler.run),
            guard(stages.tracker.run),
            *(guard(stages.verifier.run) for _ in range(self._ports.settings.heads)),
            guard(stages.heartbeat.run),
            self._watch.run(lambda: self._reasons(stages)),
            watch_deadline(clock, self._options.deadline_s, self._shutdown),
            watch_window(clock, self._options.window, self._shutdown),
        ]

    def _reasons(self, stages: _Stages) -> list[str]:
        """Return what the run waits for now, in the order of the stages."""
        reading = [] if self._is_read else ["the rest of the manifest's sources"]
        trouble = self._ports.ledger.trouble()
        ledger = [f"the ledger ({trouble})"] if trouble else []
        return [*ledger, *reading, *stages.waits_for()]

    async def _take_in(self, stages: _Stages, feed: AsyncGenerator[list[JobSpec]]) -> None:
        try:
            await stages.intake.take(feed)
        except LedgerError:
            raise
        except BucketRefused as error:
            # A bucket cannot be listed. The sources in other buckets were read all the same.
            self._is_read = True
            stages.routing.refuse(error)
        except OrchestratorError as error:
            self._shutdown.fatal(error)
        except Exception as error:  # noqa: BLE001 - a broken source must not hurt running jobs
            self._shutdown.fatal(InternalDefect(error))
        else:
            self._is_planned = self._is_read = True
            self._shutdown.changed.set()

    async def _until_over(self, stages: _Stages) -> None:
        """Return when every job has ended, or the run was stopped."""
        while self._shutdown.why is None:
            if self._is_planned and stages.routing.has_aside:
                stages.routing.forget_aside()
                await stages.intake.settle_leftovers()
                stages.dispatcher.plan_ended()
            elif self._is_read and stages.is_idle:
                if stages.routing.refusal is not None:
                    self._shutdown.fatal(stages.routing.refusal)
                return
            elif stages.is_canary_stuck:
                stages.dispatcher.give_up_canary()
            else:
                self._shutdown.changed.clear()
                await self._shutdown.changed.wait()

    async def _settle_before_leaving(self, settler: Settler) -> None:
        """Settle jobs in doubt first if the run stops by itself.

        A run that is interrupted or refused leaves at once.
        """
        if self._shutdown.why is None or self._shutdown.hurried.is_set():
            return
        ends = [
            asyncio.ensure_future(settler.drain()),
            asyncio.ensure_future(self._shutdown.hurried.wait()),
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()


class _Stages:
    """The stages of one run, built and connected."""

    def __init__(self, ports: Ports, run: Run, options: RunnerOptions, shutdown: Shutdown) -> None:
        self.report = ReportFile(
            Path(run.report),
            run,
            ports.ledger,
            ports.off_loop,
            with_skipped=options.reports_all,
            folder_of=options.folder_of,
        )
        budget = options.budget or Budget(Bounds())
        self.routing = Routing(ports, self.report, budget, shutdown)
        gate = Gate(ports)
        self.submitter = Submitter(ports, self.routing, gate, shutdown)
        canary = Canary(options.canary, ports.clock, ports.settings.cap_s)
        self.dispatcher = Dispatcher(ports, run, gate, self.submitter, budget, shutdown, canary)
        self.tracker = Tracker(ports, self.routing, shutdown)
        self.job_list = JobList(ports)
        self.settler = Settler(ports, self.routing, shutdown, self.job_list)
        self.verifier = Verifier(ports, self.routing)
        self.routing.connect(self.dispatcher, self.tracker, self.settler, self.verifier)
        self.survey = Survey(ports, self.routing, self.job_list, options.lookback_s)
        self.intake = Intake(ports, run, options, self.routing, self.dispatcher, self.survey)
        self.heartbeat = Heartbeat(ports, self.routing, self.survey, options.progress)

    @property
    def is_idle(self) -> bool:
        """True if nothing waits to be sent, and every job at the service has ended or was left."""
        return self.dispatcher.is_empty and not self.dispatcher.in_flight

    @property
    def is_canary_stuck(self) -> bool:
        """True if the canary cannot be decided: all jobs that are under way were left."""
        return not self.dispatcher.in_flight and self.dispatcher.canary.is_stuck()

    def waits_for(self) -> list[str]:
        """Return what the stages wait for, in words."""
        elsewhere = self.submitter.pending + self.tracker.tracked + self.settler.in_doubt
        return [
            *self.survey.waits_for(),
            *self.dispatcher.waits_for(),
            *self.submitter.waits_for(),
            *self.settler.waits_for(),
            *self.tracker.waits_for(),
            *stems_reason(self.dispatcher.in_flight - elsewhere),
        ]

    @property
    def calls(self) -> Calls:
        """Requests made."""
        return Calls(
            self.submitter.sent,
            self.tracker.queries,
            self.job_list.calls + self.intake.existing.lists,
            self.verifier.heads + self.intake.existing.heads,
        )
