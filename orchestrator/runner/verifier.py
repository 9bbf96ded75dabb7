"""Did the stems really arrive? A job that the service calls done has succeeded when its stems are seen in the bucket.

Stems are recognised by the names that were asked for, never by their position in the answer: nothing there says which file is which.
"""

from __future__ import annotations

import asyncio
import re
from enum import Enum
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, retry_if_exception, retry_if_result, wait_exponential

from orchestrator.domain.job import StemFile
from orchestrator.domain.remote import ObjectHead
from orchestrator.domain.states import JobState, Step
from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tenacity import RetryCallState

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger, ObjectStore
    from orchestrator.domain.remote import RemoteFile, RemoteJob
    from orchestrator.domain.spec import JobKey, JobSpec, Place, Stem
    from orchestrator.runner.ports import Parts

_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


def _pattern(name: str, job_id: str) -> re.Pattern[str]:
    """The names that the service may make of ``name``: ``${jobid}`` is known, ``${ext}`` and others are one part of a path."""
    parts: list[str] = []
    end = 0
    for found in _PLACEHOLDER.finditer(name):
        parts.append(re.escape(name[end : found.start()]))
        parts.append(re.escape(job_id) if found[1].lower() == "jobid" else "[^/]+")
        end = found.end()
    parts.append(re.escape(name[end:]))
    return re.compile("".join(parts))


def match_stems(spec: JobSpec, job_id: str, files: Sequence[RemoteFile]) -> dict[Stem, RemoteFile]:
    """Which of the files that the service reported is which stem; a stem that is not among them is left out."""
    matched: dict[Stem, RemoteFile] = {}
    free = list(files)
    for stem, name in spec.output.names().items():
        pattern = _pattern(name, job_id)
        file = next((file for file in free if pattern.fullmatch(file.object)), None)
        if file is not None:
            matched[stem] = file
            free.remove(file)
    return matched


def expected_stems(spec: JobSpec) -> tuple[Stem, ...]:
    """The stems that must come: those with a name that the mode makes; with a template, whose mode is unknown here, none is certain."""
    named = spec.output.names()
    mode = spec.operation.audio_mode
    return tuple(stem for stem in named if mode is not None and stem in mode.stems)


class Verifier:
    """Looks for the stems of finished jobs, several at a time.

    Args:
        parts: The ports.
        record: Saves jobs; returns when they are durable.
        on_ended: Takes the jobs, succeeded or failed.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        record: Callable[[Sequence[Job]], Awaitable[None]],
        on_ended: Callable[[Job], None],
    ) -> None:
        self._store = parts.store
        self._clock = parts.clock
        self._settings = parts.settings
        self._record = record
        self._on_ended = on_ended
        self._inbox: asyncio.Queue[tuple[Job, RemoteJob]] = asyncio.Queue()
        self.heads = 0
        """HEAD calls made."""

    def put(self, job: Job, remote: RemoteJob) -> None:
        """Take a job that the service calls done."""
        self._inbox.put_nowait((job, remote))

    async def run(self) -> None:
        """Verify one job after the other; run several of these."""
        while True:
            job, remote = await self._inbox.get()
            await self._verify(job, remote)
            await self._record([job])
            self._on_ended(job)

    async def _verify(self, job: Job, remote: RemoteJob) -> None:
        matched = match_stems(job.spec, job.job_id, remote.files)
        missing = [stem for stem in expected_stems(job.spec) if stem not in matched]
        files: list[StemFile] = []
        for stem, file in matched.items():
            seen = await self._look(job, file.object)
            if seen is Sight.ABSENT:
                missing.append(stem)
            head = seen if isinstance(seen, ObjectHead) else None
            files.append(
                StemFile(
                    stem, file.object, file.md5, head.size_bytes if head else None, head is not None
                )
            )
        job.files = tuple(files)
        self._judge(job, missing)

    def _judge(self, job: Job, missing: Sequence[Stem]) -> None:
        if job.files and not missing:
            job.step(Step.SUCCEED)
            job.code = job.message = ""
            return
        job.step(Step.FAIL)
        job.code = "StemMissing"
        job.message = (
            f"The service reported success, but {' and '.join(missing) or 'every stem'} is not in {job.spec.output.bucket}. "
            "Check the bucket's permissions and lifecycle rules, then run again with --retry failed."
        )

    async def _look(self, job: Job, key: str) -> ObjectHead | Sight:
        """HEAD until it is known whether the stem is there: for a while if it is not visible yet, for ever if nobody answers."""
        attempts = AsyncRetrying(
            sleep=self._clock.sleep,
            stop=_seen_enough,
            wait=wait_exponential(
                multiplier=self._settings.stem_wait_s / 2**_LOOKS, max=self._settings.cap_s
            ),
            retry=retry_if_result(_is_absent) | retry_if_exception(_is_retryable),
            retry_error_callback=lambda _: Sight.ABSENT,
        )
        try:
            seen: ObjectHead | Sight = await attempts(self._head, job.spec.output.place, key)
        except OrchestratorError:
            return Sight.HIDDEN
        return seen

    async def _head(self, place: Place, key: str) -> ObjectHead | Sight:
        self.heads += 1
        return await self._store.head(place, key) or Sight.ABSENT


async def lost_stems(
    ledger: Ledger, store: ObjectStore, specs: Sequence[JobSpec], at_once: int
) -> set[JobKey]:
    """Of these specs, the keys of those that were done once and whose stems are not all in their bucket any more.

    Raises:
        OrchestratorError: If the storage does not answer, or does not let us look.
    """
    known = await ledger.find([spec.key for spec in specs])
    slots = asyncio.Semaphore(at_once)

    async def is_lost(job: Job) -> bool:
        async with slots:
            heads = [await store.head(job.spec.output.place, file.object) for file in job.files]
        return None in heads

    done = [job for job in known.values() if job.state is JobState.SUCCEEDED]
    lost = await asyncio.gather(*(is_lost(job) for job in done))
    return {job.spec.key for job, gone in zip(done, lost, strict=True) if gone}


_LOOKS = 6  # the waits between them double, and add up to about ``stem_wait_s``


class Sight(Enum):
    """What a HEAD can tell besides the facts: there is no such object, or we may not look (then the service's word stands)."""

    ABSENT = "absent"
    HIDDEN = "hidden"


def _is_absent(seen: object) -> bool:
    return seen is Sight.ABSENT


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, OrchestratorError) and error.retryable


def _seen_enough(state: RetryCallState) -> bool:
    return state.attempt_number >= _LOOKS and state.outcome is not None and not state.outcome.failed
