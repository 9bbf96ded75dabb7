"""The work on one job: its input, the separation or its simulation, its stems and its result."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.domain.spec import AudioMode
from orchestrator.domain.wording import counted
from orchestrator.separation.cores import threads_for, usable_cores
from orchestrator.separation.errors import INVALID_ARGUMENT, MUSIC_REFUSED
from orchestrator.separation.invocation import command
from orchestrator.server.jobs.submit_request import STEM_NODES, expand
from orchestrator.server.pace import Pace
from orchestrator.server.settings import MissingInput
from orchestrator.server.workers.protocol import WorkFailed, WorkResult, WorkTask, simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from orchestrator.domain.ports import Clock
    from orchestrator.server.jobs.row import JobRow
    from orchestrator.server.pace import Progression
    from orchestrator.server.settings import LocalSettings
    from orchestrator.server.storage.objects import Objects
    from orchestrator.server.workers.protocol import Probe, Workers


log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class JobWork:
    """Does the work of jobs."""

    def __init__(
        self,
        settings: LocalSettings,
        clock: Clock,
        objects: Objects,
        workers: Workers,
        disk: Executor,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._objects = objects
        self._workers = workers
        self._disk = disk
        self._cores = usable_cores()

    def capacity(self, progression: Progression) -> int:
        """Return the number of jobs that can run at once now."""
        return self._settings.workers if progression.simulated else self._workers.capacity

    async def run(
        self,
        row: JobRow,
        progression: Progression,
        on_progress: Callable[[float], None],
        *,
        jobs: int,
    ) -> tuple[dict[str, object], str]:
        """Do the work and store the stems, so that they are visible before the job ends.

        Args:
            row: The job.
            progression: Real or simulated work.
            on_progress: Called with the finished part, 0 to 1.
            jobs: Jobs that run or wait now, with this one; they share the cores.

        Returns:
            The trees of ``result_of``, and the message of the job.

        Raises:
            WorkFailed: The job cannot be done.
            WorkerLost: Its worker is gone; another one can do it.
            Refusal: The stems cannot be stored under their names.
        """
        self._refuse(row, progression)
        source = await self._on_disk(self._source_of, row)
        names = expand(row.request, row.job_id)
        bucket = row.request.output["Bucket"]
        if source is not None:
            await self._on_disk(self._check_outputs, source, bucket, names)
        paths = {
            stem: self._objects.temporary(bucket, Path(key).suffix[:16])
            for stem, key in names.items()
        }
        task = self._task(row, source, paths, jobs)
        try:
            if progression.simulated:
                done = await self._simulate(task, progression)
            else:
                done = await self._workers.run(task, on_progress)
            stored = await self._on_disk(self._store_stems, row, done, names, paths)
        finally:
            for path in paths.values():
                path.unlink(missing_ok=True)
        if done.engine:
            log.info("separated job %s with %s", row.job_id, done.engine)
        return stored, done.message

    async def _on_disk(self, act: Callable[..., _Result], *arguments: Any) -> _Result:
        """Call a function that waits for the disk."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, act, *arguments)

    def _refuse(self, row: JobRow, progression: Progression) -> None:
        """Refuse a job that may not be started, or not with this engine.

        Raises:
            WorkFailed: The reason.
        """
        if row.starts > self._settings.max_starts:
            times = counted(row.starts - 1, "time")
            raise WorkFailed(
                "InternalError",
                f"The service or its worker ended {times} while this job was at work (killed, "
                "crashed, out of memory, or the machine went down), so the job may be the reason "
                "and is not started again. If the reason was another one, run again with --retry "
                "failed, or submit it again; a stop by Ctrl-C or SIGTERM does not count. "
                f"Otherwise try the file alone: {command('separate')} FILE",
            )
        is_music = row.request.sound.mode == AudioMode.MUSIC_MODE
        if is_music and not progression.simulated and self._settings.engine.is_default:
            raise WorkFailed(INVALID_ARGUMENT, MUSIC_REFUSED)

    def _source_of(self, row: JobRow) -> Path | None:
        """Return the file of the input; None if it is missing and the work is simulated without.

        Raises:
            WorkFailed: It is missing.
        """
        source = self._objects.path_of(row.bucket, row.input_object)
        if source is None and self._settings.missing_input_rule is not MissingInput.IGNORE:
            raise WorkFailed(
                "ResourceNotFound",
                f"The input object {row.input_object[:200]!r} does not exist in {row.bucket}.",
            )
        return source

    def _task(
        self, row: JobRow, source: Path | None, paths: dict[str, Path], jobs: int
    ) -> WorkTask:
        """Return the task of a worker; ``jobs`` share the cores."""
        sound, engine = row.request.sound, self._settings.engine
        return WorkTask(
            str(source or ""),
            {stem: str(path) for stem, path in paths.items()},
            sound.mode.value,
            asdict(sound.audio),
            threads_for(self._cores, workers=self._settings.workers, jobs=jobs),
            str(engine.model or ""),
            engine.plugin,
            row.job_id,
        )

    def _check_outputs(self, source: Path, bucket: str, names: dict[str, str]) -> None:
        """Check that no stem would replace the input: two buckets may share a folder.

        Raises:
            WorkFailed: A stem has the file of the input.
            Refusal: A stem cannot be stored under its name.
        """
        for key in names.values():
            try:
                is_input = self._objects.check_place(bucket, key).samefile(source)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a new file
            if is_input:
                raise WorkFailed(
                    "InvalidArgument",
                    f"The output {key[:200]!r} in {bucket} is the file of the input. Write the "
                    "stems under another prefix, or to another folder.",
                )

    async def _simulate(self, task: WorkTask, progression: Progression) -> WorkResult:
        if progression.pace is Pace.SECONDS:
            size_mb = os.stat(task.source).st_size / 1e6 if task.source else 0  # noqa: PTH116
            await self._clock.sleep(progression.finish_after + progression.per_input_mb_s * size_mb)
        return simulate(task, progression.media_s)

    def _store_stems(
        self, row: JobRow, done: WorkResult, names: dict[str, str], paths: dict[str, Path]
    ) -> dict[str, object]:
        output = row.request.output
        stored = []
        for stem, probe in done.files.items():
            content = self._objects.adopt(output["Bucket"], names[stem], paths[stem], "")
            stored.append(_StoredStem(stem, names[stem], content.tag, probe))
        return result_of(output["Bucket"], output["Region"], stored)


@dataclass(frozen=True, slots=True)
class _StoredStem:
    """One stored stem."""

    stem: str
    key: str
    md5: str
    probe: Probe


def result_of(bucket: str, region: str, stems: Sequence[_StoredStem]) -> dict[str, Any]:
    """Return the trees ``media_info`` and ``media_result``, and each stem's key (``names``).

    ``Format`` is that of the first stem.
    """
    order = list(STEM_NODES)
    stems = sorted(stems, key=lambda stored: order.index(stored.stem))
    sound = [stream for stored in stems for stream in stored.probe.audio[:1]]
    output = {
        "Bucket": bucket,
        "Md5Info": [{"Md5": stored.md5, "ObjectName": stored.key} for stored in stems],
        "ObjectName": [stored.key for stored in stems],
        "ObjectPrefix": None,
        "Region": region,
    }
    return {
        "media_info": {
            "Format": stems[0].probe.format,
            "Stream": {"Audio": sound, "Subtitle": None, "Video": None},
        },
        "media_result": {"OutputFile": output},
        "names": {STEM_NODES[stored.stem]: stored.key for stored in stems},
    }
