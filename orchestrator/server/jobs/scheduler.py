"""Takes jobs from the queue, the highest JobLevel first, and brings each to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.spec import AudioMode
from orchestrator.server.http.errors import Refusal
from orchestrator.server.jobs.queues import ACTIVE
from orchestrator.server.jobs.result import StoredStem, result_of
from orchestrator.server.jobs.row import JobRow, State
from orchestrator.server.jobs.submit_request import expand
from orchestrator.server.progression import Pace, Progression
from orchestrator.server.settings import MissingInput
from orchestrator.server.workers.protocol import WorkFailed, WorkResult, WorkTask, simulate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor

    from orchestrator.domain.ports import Clock
    from orchestrator.server.jobs.queues import Queue, Queues
    from orchestrator.server.jobs.store import JobStore
    from orchestrator.server.settings import LocalSettings
    from orchestrator.server.storage.objects import Objects
    from orchestrator.server.workers.pool import Pool

log = logging.getLogger(__name__)
STORAGE_RETRY_S = 1.0  # a full disk is noticed at this pace
RIPEN_S = 0.05  # how often jobs that must wait some seconds are looked at
MUSIC_REFUSED = "MusicMode needs an engine that separates bass and drums, which this service does not have; use AudioAndBackground."


class Scheduler:
    """One task that starts jobs, and one task for each job that runs."""

    def __init__(
        self,
        settings: LocalSettings,
        clock: Clock,
        store: JobStore,
        queues: Queues,
        objects: Objects,
        pool: Pool,
        disk: Executor,
        on_end: Callable[[JobRow], Awaitable[None]],
        max_concurrent: int,
    ) -> None:
        self._settings = settings
        self.progression: Progression = settings.progression
        self._clock = clock
        self._store = store
        self._queues = queues
        self._objects = objects
        self._pool = pool
        self._disk = disk
        self._on_end = on_end
        self._max_concurrent = max_concurrent
        self._wake = asyncio.Event()
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._polls: dict[str, int] = {}
        self._finishing: set[str] = set()
        self.progress: dict[str, float] = {}
        """Done part of the running jobs, 0 to 1."""
        self._loop: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin."""
        self._loop = asyncio.create_task(self._run(), name="local-scheduler")
        self.wake()

    def wake(self) -> None:
        """Something may have become startable."""
        self._wake.set()

    async def close(self) -> None:
        """Stop. Jobs that run are dropped; they start again when the service is opened the next time."""
        await self.drop_all()
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)

    async def drop_all(self) -> None:
        """Drop the jobs that run, without an end."""
        tasks = list(self._jobs.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._jobs.clear()
        self._polls.clear()
        self.progress.clear()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self.progression.pace in {Pace.HOLD, Pace.POLLS}:
                continue
            try:
                await self._start_all()
            except (
                sqlite3.Error
            ) as error:  # disk full, for example: nothing was started, and it may pass
                log.warning(
                    "jobs cannot be started (%s); trying again in %g s", error, STORAGE_RETRY_S
                )
                asyncio.get_running_loop().call_later(STORAGE_RETRY_S, self.wake)
            if self.progression.start_after and self._store.queues_with_waiting():
                asyncio.get_running_loop().call_later(
                    min(self.progression.start_after, RIPEN_S), self.wake
                )

    async def _start_all(self) -> None:
        while row := self._next():
            if await self._store.start(row, self._clock.now()):
                self._launch(row)

    def _next(self) -> JobRow | None:
        """The best job that may start now."""
        best: JobRow | None = None
        if len(self._jobs) >= self._max_concurrent:
            return None
        ripe = self._clock.now() - (
            self.progression.start_after if self.progression.pace is Pace.SECONDS else 0
        )
        for queue_id in self._store.queues_with_waiting():
            queue = self._queues.get(queue_id)
            if queue is None or not self._has_room(queue):
                continue
            for row in self._store.best_waiting(queue_id, ripe):
                if best is None or (-row.level, row.seq) < (-best.level, best.seq):
                    best = row
        return best

    def _has_room(self, queue: Queue) -> bool:
        return queue.state == ACTIVE and self._store.running[queue.queue_id] < queue.max_concurrent

    def _launch(self, row: JobRow) -> None:
        task = asyncio.create_task(self._carry_out(row), name=f"local-{row.job_id}")
        self._jobs[row.job_id] = task
        task.add_done_callback(lambda _: self._ended(row.job_id))

    def _ended(self, job_id: str) -> None:
        self._jobs.pop(job_id, None)
        self.progress.pop(job_id, None)
        self._polls.pop(job_id, None)
        self.wake()

    async def _carry_out(self, row: JobRow) -> None:
        try:
            result = await self._work(row)
        except WorkFailed as error:
            await self._finish(row, State.FAILED, error.code, error.message)
        except Refusal as error:
            await self._finish(row, State.FAILED, error.code, error.message)
        except OSError as error:
            log.warning("the stems of job %s cannot be stored: %s", row.job_id, error)
            await self._finish(
                row,
                State.FAILED,
                "InternalError",
                f"The stems could not be stored: {error.strerror or error}.",
            )
        except Exception:
            log.exception("job %s failed inside the service", row.job_id)
            await self._finish(
                row,
                State.FAILED,
                "InternalError",
                "The job failed inside the service; its log says why.",
            )
        else:
            await self._finish(row, State.SUCCESS, "Success", "", result)

    async def _finish(
        self,
        row: JobRow,
        state: State,
        code: str,
        message: str,
        result: dict[str, object] | None = None,
    ) -> None:
        if await self._record(row, state, code, message, result):
            log.info("job %s ended: %s %s", row.job_id, state.value, code)
            await self._on_end(row)

    async def _record(
        self, row: JobRow, state: State, code: str, message: str, result: dict[str, object] | None
    ) -> bool:
        while True:
            try:
                return await self._store.finish(
                    row, self._clock.now(), state, code, message, result
                )
            except sqlite3.Error as error:  # its files are stored; only the word of it is missing, and that must not be lost
                log.warning(
                    "the end of job %s cannot be recorded (%s); trying again in %g s",
                    row.job_id,
                    error,
                    STORAGE_RETRY_S,
                )
                await self._clock.sleep(STORAGE_RETRY_S)

    async def _work(self, row: JobRow) -> dict[str, object]:
        """Do the work and store its files: they are visible before the job is told to have ended."""
        if row.starts > self._settings.max_starts:
            raise WorkFailed(
                "InternalError",
                f"The job was begun {row.starts - 1} times and the service ended each time before it did.",
            )
        if row.request["mode"] == AudioMode.MUSIC_MODE and not self.progression.simulated:
            raise WorkFailed("ResourceNotSupported", MUSIC_REFUSED)
        loop = asyncio.get_running_loop()
        source = await loop.run_in_executor(
            self._disk, self._objects.path_of, row.bucket, row.input_object
        )
        if source is None and self._settings.missing_input_rule is not MissingInput.IGNORE:
            raise WorkFailed(
                "ResourceNotFound",
                f"The input object {row.input_object[:200]!r} does not exist in {row.bucket}.",
            )
        bucket = row.request["output"]["Bucket"]
        names = expand(row.request, row.job_id)
        suffixes = {stem: Path(key).suffix[:16] for stem, key in names.items()}
        paths = {stem: self._objects.temporary(bucket, suffix) for stem, suffix in suffixes.items()}
        try:
            task = WorkTask(
                str(source or ""),
                {stem: str(path) for stem, path in paths.items()},
                row.request["mode"],
                row.request["audio"],
            )
            done = await self._do(row, task)
            return await loop.run_in_executor(
                self._disk, self._store_files, row, done, names, paths
            )
        finally:
            for path in paths.values():
                path.unlink(missing_ok=True)

    async def _do(self, row: JobRow, task: WorkTask) -> WorkResult:
        progression = self.progression
        if not progression.simulated:
            return await self._pool.run(
                task, lambda part: self.progress.__setitem__(row.job_id, part)
            )
        if progression.pace is Pace.SECONDS:
            size_mb = os.stat(task.source).st_size / 1e6 if task.source else 0  # noqa: PTH116 - one quick call
            await self._clock.sleep(progression.finish_after + progression.per_input_mb_s * size_mb)
        return simulate(task, progression.media_s)

    def _store_files(
        self, row: JobRow, done: WorkResult, names: dict[str, str], paths: dict[str, Path]
    ) -> dict[str, object]:
        output = row.request["output"]
        stored = []
        for stem, probe in done.files.items():
            content = self._objects.adopt(output["Bucket"], names[stem], paths[stem], "")
            stored.append(StoredStem(stem, names[stem], content.md5, probe))
        return result_of(output["Bucket"], output["Region"], stored)

    async def polled(self, row: JobRow) -> None:
        """A client asked for this job: with the ``polls`` pace, that moves it on."""
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
