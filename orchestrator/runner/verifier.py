"""Check that the stems of a job that the service calls done are in their bucket.

Stems are recognised by the names that were requested, never by their position in the answer:
nothing there says which file is which.
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
from orchestrator.runner.retry import is_retryable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenacity import RetryCallState

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger, ObjectStore
    from orchestrator.domain.remote import RemoteFile, RemoteJob
    from orchestrator.domain.spec import JobKey, JobSpec, Place, Stem
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.routing import Routing

_HEADS = 32
"""HEADs on the wire at once in a search for lost stems."""
_LOOKS = 6
"""HEADs of one stem. The waits between them double, and add up to about ``stem_wait_s``."""
_PLACEHOLDER = re.compile(r"\$\{(\w+)\}")


def _pattern(name: str, job_id: str) -> re.Pattern[str]:
    """Match the names that the service may make of ``name``.

    ``${jobid}`` is known; ``${ext}`` and others are one part of a path.
    """
    parts: list[str] = []
    end = 0
    for found in _PLACEHOLDER.finditer(name):
        parts.append(re.escape(name[end : found.start()]))
        parts.append(re.escape(job_id) if found[1].lower() == "jobid" else "[^/]+")
        end = found.end()
    parts.append(re.escape(name[end:]))
    return re.compile("".join(parts))


def match_stems(spec: JobSpec, job_id: str, files: Sequence[RemoteFile]) -> dict[Stem, RemoteFile]:
    """Assign the reported files to stems; a stem that is not among them is left out."""
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
    """Return the stems that must be there: those with a name that the mode makes.

    The mode of a template is unknown here, so with a template no stem is certain.
    """
    named = spec.output.names()
    mode = spec.operation.audio_mode
    return tuple(stem for stem in named if mode is not None and stem in mode.stems)


class Sight(Enum):
    """Results of a HEAD that found no object."""

    ABSENT = "absent"
    HIDDEN = "hidden"
    """Looking is not permitted; the service's word stands."""


class Verifier:
    """Looks for the stems of finished jobs, several jobs at a time.

    Args:
        ports: The ports.
        routing: Where jobs go.
    """

    def __init__(self, ports: Ports, routing: Routing) -> None:
        self._store = ports.store
        self._clock = ports.clock
        self._settings = ports.settings
        self._routing = routing
        self._inbox: asyncio.Queue[tuple[Job, RemoteJob]] = asyncio.Queue()
        self.heads = 0
        """HEAD calls made."""

    def put(self, job: Job, remote: RemoteJob) -> None:
        """Take a job that the service calls done, with its answer."""
        self._inbox.put_nowait((job, remote))

    async def run(self) -> None:
        """Verify one job after the other; run several of these."""
        while True:
            job, remote = await self._inbox.get()
            await self._verify(job, remote)
            await self._routing.save([job])
            self._routing.route(job)

    async def _verify(self, job: Job, remote: RemoteJob) -> None:
        matched = match_stems(job.spec, job.job_id, remote.files)
        missing = [stem for stem in expected_stems(job.spec) if stem not in matched]
        files: list[StemFile] = []
        for stem, file in matched.items():
            seen = await self._look(job, file.object)
            if seen is Sight.ABSENT:
                missing.append(stem)
            head = seen if isinstance(seen, ObjectHead) else None
            size = head.size_bytes if head else None
            files.append(StemFile(stem, file.object, file.md5, size, head is not None))
        job.files = tuple(files)
        if files and not missing:
            job.step(Step.SUCCEED)
            job.code, job.message = "", remote.message
            return
        job.step(Step.FAIL)
        job.code = "StemMissing"
        job.message = (
            f"The service reported success, but {_missing_text(missing)} missing from "
            f"{job.spec.output.bucket}. Check the bucket's permissions and lifecycle rules, then "
            "run again with --retry failed."
        )

    async def _look(self, job: Job, key: str) -> ObjectHead | Sight:
        """HEAD until it is known if the stem is there.

        For a while if it is not visible yet, without end while the storage does not answer.
        """
        attempts = AsyncRetrying(
            sleep=self._clock.sleep,
            stop=_has_looked_enough,
            wait=wait_exponential(
                multiplier=self._settings.stem_wait_s / 2**_LOOKS, max=self._settings.cap_s
            ),
            retry=retry_if_result(_is_absent) | retry_if_exception(is_retryable),
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


def _missing_text(missing: Sequence[Stem]) -> str:
    match len(missing):
        case 0:
            return "all stems are"
        case 1:
            return f"the stem {missing[0]} is"
        case _:
            return f"the stems {' and '.join(missing)} are"


def _is_absent(seen: object) -> bool:
    return seen is Sight.ABSENT


def _has_looked_enough(state: RetryCallState) -> bool:
    has_answer = state.outcome is not None and not state.outcome.failed
    return state.attempt_number >= _LOOKS and has_answer


async def lost_stems(ledger: Ledger, store: ObjectStore, specs: Sequence[JobSpec]) -> set[JobKey]:
    """Return the keys of those specs that were done once and whose stems are not all there now.

    Raises:
        OrchestratorError: If the storage does not answer, or refuses to show the stems.
    """
    known = await ledger.find([spec.key for spec in specs])
    slots = asyncio.Semaphore(_HEADS)

    async def is_lost(job: Job) -> bool:
        async with slots:
            heads = [await store.head(job.spec.output.place, file.object) for file in job.files]
        return None in heads

    done = [job for job in known.values() if job.state is JobState.SUCCEEDED]
    lost = await asyncio.gather(*(is_lost(job) for job in done))
    return {job.spec.key for job, gone in zip(done, lost, strict=True) if gone}
