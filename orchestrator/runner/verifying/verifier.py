"""Check that the stems of a job that the service calls done are in their bucket.

``failed: StemMissing`` needs a 404 that the storage itself wrote, seen for some time. What cannot
be checked is reported as succeeded and not verified, with the reason.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from tenacity import AsyncRetrying, retry_if_exception, retry_if_result, wait_exponential

from orchestrator.domain.job import STEM_MISSING, StemFile
from orchestrator.domain.remote import ObjectHead, RemoteFile
from orchestrator.domain.retrying import retried
from orchestrator.domain.states import JobState, Step
from orchestrator.errors import OrchestratorError, UnprovenAnswer
from orchestrator.runner.retry import is_retryable
from orchestrator.runner.verifying.stems import doubt_about, expected_stems, find_stems

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tenacity import RetryCallState

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Clock, Ledger, ObjectStore
    from orchestrator.domain.remote import RemoteJob
    from orchestrator.domain.spec import JobKey, JobSpec, Place, Stem
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.routing import Routing
    from orchestrator.runner.settings import RunnerSettings

_HEADS = 32
"""HEADs on the wire at once in a search for lost stems."""
_ABSENCES = 6
"""Times that the storage must say that a stem does not exist. The waits between them double, and
add up to about ``stem_wait_s``."""
_UNPROVEN = 10
"""Answers of a proxy or gateway after which a stem counts as not checked: a few minutes."""


@dataclass(slots=True)
class _Seen:
    """Results of the looks at one job's stems."""

    files: list[StemFile] = field(default_factory=list)
    missing: list[Stem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


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
        seen = await self._look_at_all(job, remote)
        job.files = tuple(seen.files)
        is_retried = job.code == STEM_MISSING
        if seen.files and not seen.missing:
            job.step(Step.SUCCEED)
            job.code = ""
            doubts = f"Not verified: {'; '.join(seen.notes)}." if seen.notes else ""
            job.message = " ".join(filter(None, (remote.message, doubts)))
            return
        job.step(Step.FAIL)
        job.finished_at = job.finished_at or self._clock.now()
        job.code = STEM_MISSING
        job.message = (
            f"The service reported success, but {_missing_text(seen.missing)} missing from "
            f"{job.spec.output.bucket}. Check the bucket's permissions and lifecycle rules, then "
            "run again with --retry failed: it looks for the stems once more before it pays again."
        )
        if is_retried:
            job.step(Step.RETRY)
            job.plan_again()

    async def _look_at_all(self, job: Job, remote: RemoteJob) -> _Seen:
        seen = _Seen()
        where = find_stems(job.spec, job.job_id, remote.files)
        expected = expected_stems(job.spec)
        for stem in job.spec.output.names():
            file = where.get(stem)
            if file is None:  # its name depends on a template
                seen.files.append(StemFile(stem, ""))
                seen.notes.append(f"the name of the {stem} is not known")
                continue
            head = await self._look(job.spec.output.place, file.object)
            if head is None and stem not in expected:
                continue  # the template may not make it
            self._note(seen, job, remote, (stem, file, head))
        if not any(file.object for file in seen.files):
            seen.missing = seen.missing or [file.stem for file in seen.files]
        return seen

    def _note(
        self,
        seen: _Seen,
        job: Job,
        remote: RemoteJob,
        look: tuple[Stem, RemoteFile, ObjectHead | str | None],
    ) -> None:
        stem, file, head = look
        size, doubt = None, ""
        if head is None:
            seen.missing.append(stem)
            doubt = "is missing"
        elif isinstance(head, ObjectHead):
            size, doubt = head.size_bytes, doubt_about(job, remote.created_at, file, head)
        else:
            doubt = f"could not be checked ({head})"
        if doubt:
            seen.notes.append(f"the {stem} {doubt}")
        seen.files.append(StemFile(stem, file.object, file.md5, size, verified=not doubt))

    async def _look(self, place: Place, key: str) -> ObjectHead | str | None:
        """HEAD until it is known if the stem is there; return the reason if that stays unknown.

        For a while if it is not visible yet, without end while the storage does not answer.
        """
        looks = Looks(self._store, self._settings, self._clock)
        try:
            return await looks.head(place, key)
        except OrchestratorError as error:
            return str(error)
        finally:
            self.heads += looks.made


class Looks:
    """HEADs of one object, until one of them proves something.

    Args:
        store: The storage.
        settings: Source of the pauses.
        clock: Time.
        absences: Number of absent answers that prove an absence.
    """

    def __init__(
        self, store: ObjectStore, settings: RunnerSettings, clock: Clock, absences: int = _ABSENCES
    ) -> None:
        self._store = store
        self._absences_left = absences
        self._unproven_left = _UNPROVEN
        self.made = 0
        self._settings = settings
        self._clock = clock

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """Return the object, or None if the storage says repeatedly that it does not exist.

        Raises:
            OrchestratorError: If the storage refuses to show it, or something else answers.
        """
        return await retried(
            self._policy, partial(self._once, place, key), is_final=lambda seen: seen is not None
        )

    def _policy(self) -> AsyncRetrying:
        # Each pause is twice the one before; together they take as long as a stem may be late.
        first_s = self._settings.stem_wait_s / (2 ** (_ABSENCES - 1) - 1)
        return AsyncRetrying(
            sleep=self._clock.sleep,
            stop=lambda _: self._absences_left <= 0 or self._unproven_left <= 0,
            wait=wait_exponential(multiplier=first_s, max=self._settings.cap_s),
            retry=retry_if_result(lambda seen: seen is None) | retry_if_exception(is_retryable),
            retry_error_callback=_last,
        )

    async def _once(self, place: Place, key: str) -> ObjectHead | None:
        self.made += 1
        try:
            found = await self._store.head(place, key)
        except UnprovenAnswer:
            self._unproven_left -= 1
            raise
        if found is None:
            self._absences_left -= 1
        return found


def _last(state: RetryCallState) -> object:
    """Return or raise what the last HEAD did."""
    return state.outcome.result() if state.outcome is not None else None


def _missing_text(missing: Sequence[Stem]) -> str:
    match len(missing):
        case 0:
            return "all stems are"
        case 1:
            return f"the stem {missing[0]} is"
        case _:
            return f"the stems {' and '.join(missing)} are"


async def lost_stems(
    ledger: Ledger,
    store: ObjectStore,
    specs: Sequence[JobSpec],
    settings: RunnerSettings,
    clock: Clock,
) -> tuple[set[JobKey], int]:
    """Return which of those specs were done once and lack a stem now, and how many were done.

    Raises:
        OrchestratorError: If the storage does not answer, or refuses to show the stems.
    """
    known = await ledger.find([spec.key for spec in specs])
    slots = asyncio.Semaphore(_HEADS)

    async def is_lost(job: Job) -> bool:
        async with slots:
            looks = [
                await Looks(store, settings, clock, absences=1).head(
                    job.spec.output.place, file.object
                )
                for file in job.files
                if file.object
            ]
        return None in looks

    done = [job for job in known.values() if job.state is JobState.SUCCEEDED]
    lost = await asyncio.gather(*(is_lost(job) for job in done))
    return {job.spec.key for job, gone in zip(done, lost, strict=True) if gone}, len(done)
