"""The only edges between the stages of a run. Where a job goes follows from its state.

::

    spec stream -> Intake -> Dispatcher -> Submitter -> Tracker -> Verifier -> closed
                                 ^             |          |  ^        |          ^
                                 |   planned   |  in doubt|  | found  |          |
                                 +-------------+----------+  |        | terminal |
                                 |             v          v  |        +----------+
                                 +---------- Settler --------+

    state after the save     goes to
    planned                  the dispatcher, or set aside if the manifest has not named it
    submitted, running       the tracker
    in doubt                 the settler
    terminal                 closed: budget, slot, event

A job that the service calls done keeps its state until the verifier has looked: ``verify``.
Save comes before route, so that a slot is free only once the ledger knows why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orchestrator.domain.events import JobEnded, Noticed
from orchestrator.domain.remote import RemoteState
from orchestrator.domain.spec import Refusal
from orchestrator.domain.states import REMOTE, TERMINAL, JobState, Step
from orchestrator.errors import OrchestratorError, ReportError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.remote import RemoteJob
    from orchestrator.domain.spec import Place
    from orchestrator.errors import BucketRefused
    from orchestrator.reporting.report_file import ReportFile
    from orchestrator.runner.budget import Budget
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.shutdown import Shutdown


_REFUSED_BEFORE = Refusal("InvalidRow", "An earlier run found that it cannot be requested.")

# The stages as this module sees them. Protocols, because the stages import this module.


class Dispatching(Protocol):
    """The dispatcher. Each call but the first two frees a slot."""

    def add(self, jobs: Iterable[Job]) -> None:
        """Take planned jobs."""
        ...

    def occupy(self, job: Job) -> bool:
        """Count a job that is at the service already; return False if it is known."""
        ...

    def give_back(self, job: Job) -> None:
        """Take back a job that is planned again."""
        ...

    def release(self, job: Job) -> None:
        """Forget a job that is planned again; it waits until the manifest names it."""
        ...

    def ended(self, job: Job) -> None:
        """Forget a job that has ended."""
        ...

    def let_go(self) -> None:
        """Free the slot of a job that the run no longer waits for."""
        ...

    def hold_again(self) -> None:
        """Take a slot for a job that was let go."""
        ...

    def close_bucket(self, place: Place, error: OrchestratorError) -> None:
        """Send no more jobs of a bucket, which the service refuses."""
        ...


class Tracking(Protocol):
    """The tracker."""

    def put(self, job: Job, *, at_once: bool = False) -> None:
        """Track a job; ``at_once`` if it may have ended long ago."""
        ...

    def follow_instead(self, job: Job, remote: RemoteJob | None) -> None:
        """Follow another job at the service if the present one has failed or was cancelled."""
        ...


class Settling(Protocol):
    """The settler."""

    def put(self, job: Job, *, is_orphan: bool = False) -> None:
        """Take a job in doubt; ``is_orphan`` if the process that sent it is gone."""
        ...

    def know(self, job: Job, *, is_new: bool) -> None:
        """Note a job that the service has accepted; ``is_new`` if it did so just now."""
        ...


class Verifying(Protocol):
    """The verifier."""

    def put(self, job: Job, remote: RemoteJob) -> None:
        """Take a job that the service calls done, with its answer."""
        ...


class Routing:
    """Saves jobs and hands them to the stage that comes next.

    Args:
        ports: The ports.
        report: Report of the run; open.
        budget: Counts what the run spends.
        shutdown: Stops the run.

    Attributes:
        ended: Jobs that have ended since the run was started or resumed.
        refusal: First error that closed a bucket, or None.
    """

    def __init__(
        self, ports: Ports, report: ReportFile, budget: Budget, shutdown: Shutdown
    ) -> None:
        self.ended = 0
        self.refusal: BucketRefused | None = None
        self._closed: set[Place] = set()
        self._service = ports.service
        self._budget = budget
        self._shutdown = shutdown
        self._ledger = ports.ledger
        self._sink = ports.sink
        self._report = report
        self._unnamed: set[int] = set()  # jobs found in the ledger, until the manifest names them
        self._aside: dict[int, Job] = {}  # those of them that are planned again

    def connect(
        self, dispatcher: Dispatching, tracker: Tracking, settler: Settling, verifier: Verifying
    ) -> None:
        """Name the stages. They are built with this object, so they can be named only now."""
        self._dispatcher = dispatcher
        self._tracker = tracker
        self._settler = settler
        self._verifier = verifier

    # --- durable first

    async def save(self, jobs: Sequence[Job]) -> None:
        """Make these jobs durable as they are now, and write the rows of those that ended."""
        await self._ledger.save(jobs)
        self._write_rows([job for job in jobs if job.state in TERMINAL])

    async def catch_up(self) -> None:
        """Write the rows that the ledger has and the report lacks."""
        try:
            await self._report.catch_up()
        except ReportError as error:
            self._shutdown.fatal(error)

    async def checkpoint(self) -> None:
        """Sync the report; write it again if another program took it away."""
        try:
            await self._report.checkpoint()
        except ReportError as error:
            self._shutdown.fatal(error)

    def _write_rows(self, jobs: Sequence[Job]) -> None:
        # A report that cannot be written stops the run in order: the ledger has the rows, and
        # answers that are on their way are still recorded.
        try:
            self._report.offer(jobs)
        except ReportError as error:
            self._shutdown.fatal(error)

    # --- then on

    def route(self, job: Job) -> None:
        """Hand a saved job to the stage that its state names.

        Raises:
            RuntimeError: A defect of the caller: the state was not saved, or the job is being sent.
        """
        if job.state is not job.saved_state:
            raise RuntimeError(f"job {job.id} was handed on as {job.state} before it was saved")
        match job.state:
            case JobState.SUBMITTED | JobState.RUNNING:
                self._settler.know(job, is_new=not job.adopted)
                self._tracker.put(job, at_once=job.adopted)
            case JobState.PLANNED:
                self._plan_again(job)
            case JobState.IN_DOUBT:
                self._settler.put(job)
            case JobState.SUBMITTING:
                raise RuntimeError(f"job {job.id} was handed on while it was being sent")
            case _:
                self._close(job)

    def verify(self, job: Job, answer: RemoteJob) -> None:
        """Have the stems checked of a job that the service calls done."""
        self._verifier.put(job, answer)

    async def refuse_planned(self, jobs: Sequence[Job]) -> None:
        """Reject planned jobs that cannot be requested, and close them. None of them is sent."""
        for job in jobs:
            refusal = job.spec.refusal or _REFUSED_BEFORE
            job.step(Step.REJECT)
            job.code, job.message = refusal
        await self.save(jobs)
        for job in jobs:
            self.ended += 1
            self._budget.ended(job)
            self._sink.emit(
                JobEnded(job.spec.key, job.spec.media.key, job.state, job.code, job.message)
            )
        self._shutdown.changed.set()

    # --- what the run does not wait for

    def leave(self) -> None:
        """Let go of a job whose state cannot be found out now; the next run resumes it."""
        self._dispatcher.let_go()
        self._shutdown.changed.set()

    def take_back(self) -> None:
        """Take a job back that was left, because its state was found out after all."""
        self._dispatcher.hold_again()

    def is_closed(self, place: Place) -> bool:
        """Return True if the service refuses every request for this bucket."""
        return place in self._closed

    def close_bucket(self, place: Place, error: BucketRefused) -> None:
        """Send nothing more for a bucket that the service refuses; other buckets continue."""
        if place in self._closed:
            return
        self._closed.add(place)
        self._dispatcher.close_bucket(place, error)
        where = f"{place.bucket} in {place.region}"
        self._sink.emit(Noticed(f"Nothing more is sent for the bucket {where}: {error}"))
        self.refuse(error)

    def refuse(self, error: BucketRefused) -> None:
        """Note that part of the run cannot be done; it ends with this error."""
        self.refusal = self.refusal or error
        self._shutdown.changed.set()

    def follow_instead(self, job: Job, remote: RemoteJob | None) -> None:
        """Follow ``remote`` if the present attempt of ``job`` fails; nothing else if None."""
        self._tracker.follow_instead(job, remote)

    async def found_twice(self, job: Job, remote: RemoteJob) -> None:
        """Report a second job with one key at the service, and cancel the one that waits.

        The list lagged longer than the job was looked for, or two ledgers sent it.
        """
        own, other = job.job_id, remote.job_id
        if own == other:
            return  # it was found meanwhile
        self.follow_instead(job, remote)
        result = "both are paid for"
        if remote.state in {RemoteState.SUBMITTED, RemoteState.PAUSED}:
            if await self._cancel(job, other):
                self.follow_instead(job, None)
                result = f"{other} had not started and was cancelled"
        elif job.state is JobState.SUBMITTED and own and await self._cancel(job, own):
            result = f"{own} had not started and was cancelled"
        name = job.spec.media.key
        text = f"{name!r} has two jobs at the service, {own or 'none yet'} and {other}: {result}"
        self._sink.emit(Noticed(text))

    async def _cancel(self, job: Job, job_id: str) -> bool:
        try:
            await self._service.cancel(job.spec.media.place, job_id)
        except OrchestratorError:
            return False
        return True

    def _plan_again(self, job: Job) -> None:
        self._budget.release(job)
        if job.id not in self._unnamed:
            self._dispatcher.give_back(job)
            return
        # It may have left the manifest; then it must not be paid for.
        self._aside[job.id] = job
        self._dispatcher.release(job)
        self._shutdown.changed.set()

    def _close(self, job: Job) -> None:
        self.ended += 1
        self._unnamed.discard(job.id)
        self._budget.ended(job)
        self._dispatcher.ended(job)
        started = job.submitted_at or job.intent_at
        took_s = None
        if job.finished_at is not None and started is not None:
            # The service reports whole seconds: a quick job seems to end before it was accepted.
            took_s = max(job.finished_at - started, 0.0)
        ran_s, output_s = None, 0.0
        if job.finished_at is not None and job.started_at is not None:
            ran_s = max(job.finished_at - job.started_at, 0.0)
        if job.state is JobState.SUCCEEDED:
            length_s = job.media_duration_s or job.spec.media.duration_s or 0.0
            output_s = len(job.spec.output.names()) * length_s
        key, name = job.spec.key, job.spec.media.key
        self._sink.emit(
            JobEnded(key, name, job.state, job.code, job.message, took_s, ran_s, output_s)
        )
        self._shutdown.changed.set()

    @property
    def has_aside(self) -> bool:
        """True if jobs were set aside: planned again, and not yet named by the manifest."""
        return bool(self._aside)

    def forget_aside(self) -> None:
        """Forget the jobs that were set aside, because the manifest was read to its end."""
        self._aside.clear()

    # --- where jobs come in

    def named(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Return jobs that the manifest names as they are now, if some are being worked on."""
        if self._unnamed or self._aside:
            return [self._named(job) for job in jobs]
        return jobs

    def take_in(self, jobs: Sequence[Job]) -> None:
        """Take jobs that the manifest names, whatever their state."""
        self._write_rows([job for job in jobs if job.row])
        self._dispatcher.add(job for job in jobs if job.state is JobState.PLANNED)
        for job in jobs:
            if job.state in REMOTE:
                self._resume(job)
            elif job.job_id:
                self._settler.know(job, is_new=False)
        self._shutdown.changed.set()

    def take_up(self, job: Job) -> None:
        """Take a job that is, or may be, at the service since before this process started.

        The manifest may or may not name it.
        """
        self._unnamed.add(job.id)
        self._resume(job)

    def _named(self, job: Job) -> Job:
        # If it was set aside while the ledger was read, the copy set aside is newer.
        self._unnamed.discard(job.id)
        aside = self._aside.pop(job.id, None)
        return job if aside is None or job.state is JobState.PLANNED else aside

    def _resume(self, job: Job) -> None:
        if self._dispatcher.occupy(job):
            if job.state is JobState.IN_DOUBT:
                self._settler.put(job, is_orphan=True)
            else:
                self._settler.know(job, is_new=False)
                self._tracker.put(job, at_once=True)
