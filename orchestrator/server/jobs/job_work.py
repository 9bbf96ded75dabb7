"""The work on one job: its input, the separation or its simulation, its stems and its result."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.domain.spec import AudioMode
from orchestrator.domain.wording import counted
from orchestrator.separation.cores import threads_for, usable_cores
from orchestrator.separation.errors import INVALID_ARGUMENT, MUSIC_REFUSED
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
        request = row.request
        if row.starts > self._settings.max_starts:
            raise WorkFailed(
                "InternalError",
                f"The job was started {counted(row.starts - 1, 'time')}, and the service or its "
                "worker ended each time before the job did.",
            )
        is_music = request.sound.mode == AudioMode.MUSIC_MODE
        if is_music and not progression.simulated and self._settings.engine.is_default:
            raise WorkFailed(INVALID_ARGUMENT, MUSIC_REFUSED)
        loop = asyncio.get_running_loop()
        source = await loop.run_in_executor(
            self._disk, self._objects.path_of, row.bucket, row.input_object
        )
        if source is None and self._settings.missing_input_rule is not MissingInput.IGNORE:
            raise WorkFailed(
                "ResourceNotFound",
                f"The input object {row.input_object[:200]!r} does not exist in {row.bucket}.",
            )
        names = expand(request, row.job_id)
        if source is not None:
            await loop.run_in_executor(
                self._disk, self._check_outputs, source, request.output["Bucket"], names
            )
        paths = {
            stem: self._objects.temporary(request.output["Bucket"], Path(key).suffix[:16])
            for stem, key in names.items()
        }
        outputs = {stem: str(path) for stem, path in paths.items()}
        threads = threads_for(self._cores, workers=self._settings.workers, jobs=jobs)
        task = WorkTask(
            str(source or ""),
            outputs,
            request.sound.mode.value,
            asdict(request.sound.audio),
            threads,
            str(self._settings.engine.model or ""),
            self._settings.engine.plugin,
            row.job_id,
        )
        try:
            if progression.simulated:
                done = await self._simulate(task, progression)
            else:
                done = await self._workers.run(task, on_progress)
            stored = await loop.run_in_executor(
                self._disk, self._store_stems, row, done, names, paths
            )
        finally:
            for path in paths.values():
                path.unlink(missing_ok=True)
        if done.engine:
            log.info("separated job %s with %s", row.job_id, done.engine)
        return stored, done.message

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
