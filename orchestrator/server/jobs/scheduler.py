"""Takes jobs from the queues, the highest JobLevel first, and runs each to a terminal state."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from typing import TYPE_CHECKING

from orchestrator.domain.wording import counted
from orchestrator.durable import DISK_FULL
from orchestrator.server.http.errors import Refusal
from orchestrator.server.jobs.machine import Machine
from orchestrator.server.jobs.queues import ACTIVE
from orchestrator.server.jobs.row import JobRow, State
from orchestrator.server.pace import Pace
from orchestrator.server.workers.protocol import MachineAtFault, WorkerLost, WorkFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.domain.ports import Clock
    from orchestrator.server.jobs.job_work import JobWork
    from orchestrator.server.jobs.queues import Queues
    from orchestrator.server.jobs.store import JobStore
    from orchestrator.server.settings import LocalSettings

log = logging.getLogger(__name__)
STORAGE_RETRY_S = 1.0  # interval of attempts while the disk is full
RIPEN_S = 0.05  # interval of looks at jobs that must wait some seconds


class Scheduler:
    """One task that starts jobs, and one task for each running job."""

    def __init__(
        self,
        settings: LocalSettings,
        clock: Clock,
        store: JobStore,
        queues: Queues,
        work: JobWork,
        on_end: Callable[[JobRow], Awaitable[None]],
    ) -> None:
        self.progression = settings.progression
        self._clock = clock
        self._store = store
        self._queues = queues
        self._work = work
        self._on_end = on_end
        self._max_starts = settings.max_starts
        self._wake = asyncio.Event()
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._polls: dict[str, int] = {}
        self._finishing: set[str] = set()
        self._machine = Machine(clock)
        self.progress: dict[str, float] = {}
        """Finished share of the running jobs, 0 to 1."""
        self._loop: asyncio.Task[None] | None = None
        self._next_attempt: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Start the task that starts jobs."""
        self._loop = asyncio.create_task(self._run(), name="local-scheduler")
        self.wake()

    def wake(self) -> None:
        """Look for jobs that can start now."""
        self._wake.set()

    async def close(self) -> None:
        """Stop. Running jobs are dropped; they start again with the next service."""
        if self._loop is not None:  # first of all: it would start others
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self.drop_all()
        with contextlib.suppress(sqlite3.Error):  # then they count as started
            await self._store.put_all_back()

    async def drop_all(self) -> None:
        """Drop the running jobs without ending them."""
        tasks = list(self._jobs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._jobs.clear()
        self._polls.clear()
        self.progress.clear()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.progression.pace in {Pace.HOLD, Pace.POLLS}:
                continue
            try:
                while row := self._next():
                    if await self._store.start(row, self._clock.now()):
                        self._launch(row)
            except sqlite3.Error as error:  # for example a full disk: nothing was started
                log.warning("cannot start jobs (%s); next attempt in %g s", error, STORAGE_RETRY_S)
                loop.call_later(STORAGE_RETRY_S, self.wake)
            if waits_s := self._machine.waits_s:
                # Set again after each look: a timer of uvloop may be early by a millisecond.
                if self._next_attempt is not None:
                    self._next_attempt.cancel()
                self._next_attempt = loop.call_later(waits_s, self.wake)
            if self.progression.start_after and self._store.queues_with_waiting():
                loop.call_later(min(self.progression.start_after, RIPEN_S), self.wake)

    def _next(self) -> JobRow | None:
        """Return the best job that may start now."""
        best: JobRow | None = None
        capacity = self._work.capacity(self.progression)
        if len(self._jobs) >= capacity or self._machine.waits_s:
            return None
        wait_s = self.progression.start_after if self.progression.pace is Pace.SECONDS else 0
        ripe = self._clock.now() - wait_s
        for queue_id in self._store.queues_with_waiting():
            queue = self._queues.get(queue_id)
            if queue is None or queue.state != ACTIVE:
                continue
            for row in self._store.best_waiting(queue_id, ripe):
                if best is None or (-row.level, row.seq) < (-best.level, best.seq):
                    best = row
        return best

    def _launch(self, row: JobRow) -> None:
        def ended(_: asyncio.Task[None]) -> None:
            self._jobs.pop(row.job_id, None)
            self.progress.pop(row.job_id, None)
            self._polls.pop(row.job_id, None)
            self.wake()

        task = asyncio.create_task(self._carry_out(row), name=f"local-{row.job_id}")
        self._jobs[row.job_id] = task
        task.add_done_callback(ended)

    async def _carry_out(self, row: JobRow) -> None:
        """Do the work of a job, record its end and report it."""

        def on_progress(part: float) -> None:
            self.progress[row.job_id] = part

        result: dict[str, object] | None = None
        state, code, message = State.FAILED, "InternalError", ""
        try:
            result, message = await self._do(row, on_progress)
            state, code = State.SUCCESS, "Success"
        except MachineAtFault:
            await self._put_back(row, is_counted=False)
            return
        except WorkerLost as error:
            if not error.is_counted or row.starts < self._max_starts:
                log.warning("job %s waits for another worker: %s", row.job_id, error.message)
                await self._put_back(row, is_counted=error.is_counted)
                return
            starts = counted(row.starts, "start")
            message = f"{error.message} The job is given up after {starts}."
        except (WorkFailed, Refusal) as error:
            code, message = error.code, error.message
        except OSError as error:
            log.warning("cannot store the stems of job %s: %s", row.job_id, error)
            message = f"The stems could not be stored: {error.strerror or error}."
        except Exception:
            log.exception("job %s failed inside the service", row.job_id)
            message = "The job failed inside the service; see its log."
        if await self._record(row, state, code, message, result):
            log.info("job %s ended: %s %s", row.job_id, state.value, code)
            await self._on_end(row)

    async def _do(
        self, row: JobRow, on_progress: Callable[[float], None]
    ) -> tuple[dict[str, object], str]:
        """Do the work of a job.

        Raises:
            MachineAtFault: This machine can do no job now; another attempt follows.
            WorkerLost: As ``JobWork.run``.
            WorkFailed: The same, or this machine was given up, or each node of the cluster.
        """
        self._machine.check()
        jobs = self._store.running.total() + self._store.waiting.total()
        try:
            done = await self._work.run(row, self.progression, on_progress, jobs=jobs)
        except MachineAtFault as error:
            self._machine.wait_for(error)
            raise
        except WorkerLost as error:
            # While another job is at work, another node does what this one cannot.
            if error.fault is not None and error.fault.is_of_engine and len(self._jobs) <= 1:
                self._machine.wait_for(error.fault)
            raise
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            fault = MachineAtFault("InternalError", f"The disk is full: {error.strerror}.")
            self._machine.wait_for(fault)
            raise fault from error
        self._machine.works()
        return done

    async def _put_back(self, row: JobRow, *, is_counted: bool) -> None:
        """Let a job wait again; it must not stay marked as running."""
        while True:
            try:
                await self._store.put_back(row, is_counted=is_counted)
            except sqlite3.Error:
                await self._clock.sleep(STORAGE_RETRY_S)
            else:
                return

    async def _record(
        self, row: JobRow, state: State, code: str, message: str, result: dict[str, object] | None
    ) -> bool:
        """Record the end of a job; its stems are stored, so the record must not be lost."""
        while True:
            now = self._clock.now()
            try:
                return await self._store.finish(row, now, state, code, message, result)
            except sqlite3.Error as error:
                log.warning(
                    "cannot record the end of job %s (%s); next attempt in %g s",
                    row.job_id,
                    error,
                    STORAGE_RETRY_S,
                )
                await self._clock.sleep(STORAGE_RETRY_S)

    async def polled(self, row: JobRow) -> None:
        """Advance a job that a client queried, if the pace is ``polls``."""
        progression = self.progression
        if progression.pace is not Pace.POLLS or row.state not in {State.SUBMITTED, State.RUNNING}:
            return
        count = self._polls[row.job_id] = self._polls.get(row.job_id, 0) + 1
        if row.state is State.SUBMITTED and count > progression.start_after:
            await self._store.start(row, self._clock.now())
        if (
            row.state is State.RUNNING
            and count > progression.start_after + progression.finish_after
            and row.job_id not in self._finishing
        ):
            self._finishing.add(row.job_id)
            try:
                await self._carry_out(row)
            finally:
                self._finishing.discard(row.job_id)
                self._polls.pop(row.job_id, None)
