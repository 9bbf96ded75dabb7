"""Bring jobs in doubt to a known state: found at the service, or proven absent. Never by sending again.

The API has no idempotency key, but it echoes ``UserData``, which carries our job key. A job whose answer was lost is looked for in the
List. Found: it is adopted. Absent: that proves something only after a while, because the listing may lag behind; so it is looked for again
until it has stayed absent for ``settle_s``. Only then may it be sent again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobAdopted, JobProvenAbsent, Noticed
from orchestrator.domain.remote import JobFilter
from orchestrator.domain.spec import key_of_user_data
from orchestrator.domain.states import JobState, Step
from orchestrator.errors import EndlessListing, OrchestratorError, Rejected, Throttled
from orchestrator.runner.retry import backoff_s, decide

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.remote import RemoteJob
    from orchestrator.domain.spec import Place
    from orchestrator.runner.ports import Parts

_TELL_AFTER = 3
"""Failed looks in a row after which the user is told: one or two of them are weather."""


@dataclass(slots=True)
class Doubt:
    """A job in doubt: since when it is known to be unanswered, when to look next, how often it was looked for, and whose it was."""

    job: Job
    since: float
    look_at: float
    looks: int = 0
    is_orphan: bool = False


def match(doubts: Sequence[Doubt], listed: Sequence[RemoteJob]) -> dict[int, RemoteJob]:
    """Which of the jobs in doubt are among the listed ones, by job id in the ledger.

    An attempt is ours if ``UserData`` begins with the key of the job, and if its remote id is not that of an earlier attempt.
    Of several, the oldest is taken: it is the one that the lost answer was about.
    """
    by_key: dict[str, list[RemoteJob]] = defaultdict(list)
    for remote in listed:
        by_key[key_of_user_data(remote.user_data)].append(remote)
    found: dict[int, RemoteJob] = {}
    for doubt in doubts:
        ours = [
            remote
            for remote in by_key.get(doubt.job.spec.key, ())
            if remote.job_id not in doubt.job.past_job_ids
        ]
        if ours:
            found[doubt.job.id] = min(
                ours, key=lambda remote: (remote.created_at or 0.0, remote.job_id)
            )
    return found


class Settler:
    """Looks for jobs in doubt.

    Args:
        parts: The ports.
        record: Saves jobs; returns when they are durable.
        on_found: Takes adopted jobs, to be followed.
        on_absent: Takes jobs that may be sent again.
        on_ended: Takes jobs that had their last attempt.
        on_stuck: Takes jobs that cannot be settled, because the service does not let us look.
        on_fatal: Asks for the end of the run.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        record: Callable[[Sequence[Job]], Awaitable[None]],
        on_found: Callable[[Job], None],
        on_absent: Callable[[Job], None],
        on_ended: Callable[[Job], None],
        on_stuck: Callable[[Job], None],
        on_fatal: Callable[[OrchestratorError], None],
    ) -> None:
        self._service = parts.service
        self._limiter = parts.list_limiter
        self._clock = parts.clock
        self._settings = parts.settings
        self._rng = parts.rng
        self._sink = parts.sink
        self._record = record
        self._on_found = on_found
        self._on_absent = on_absent
        self._on_ended = on_ended
        self._on_stuck = on_stuck
        self._on_fatal = on_fatal
        self._doubts: dict[int, Doubt] = {}
        self._failures = 0
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.listings = 0
        """List calls made."""

    def __len__(self) -> int:
        return len(self._doubts)

    def put(self, job: Job, *, is_orphan: bool = False) -> None:
        """Take a job in doubt.

        Args:
            job: The job.
            is_orphan: The process that sent it died before it could hear, or give up waiting: the request may arrive as late as that
                process would have waited, and the time of the job runs from then.
        """
        now = self._clock.monotonic()
        since = now + self._settings.reply_timeout_s if is_orphan else now
        first_look_s = min(1.0, self._settings.settle_s / 4)
        self._doubts[job.id] = Doubt(job, since, now + first_look_s, is_orphan=is_orphan)
        self._empty.clear()
        self._wake.set()

    async def drain(self) -> None:
        """Return when no job is in doubt."""
        await self._empty.wait()

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            due = [doubt for doubt in self._doubts.values() if doubt.look_at <= now]
            if due:
                await self._look(due)
                continue
            next_at = min((doubt.look_at for doubt in self._doubts.values()), default=None)
            try:
                async with asyncio.timeout(None if next_at is None else next_at - now):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _look(self, due: Sequence[Doubt]) -> None:
        by_place: dict[tuple[Place, str], list[Doubt]] = defaultdict(list)
        for doubt in due:
            by_place[doubt.job.spec.media.place, doubt.job.spec.queue_id].append(doubt)
        for (place, queue_id), doubts in by_place.items():
            looked_at = self._clock.monotonic()
            try:
                found = match(doubts, await self._list(place, queue_id, doubts))
            except (Rejected, EndlessListing) as error:
                self._leave(doubts, error)
            except OrchestratorError as error:
                # Nothing was learned. The jobs stay in doubt until the service lets us look.
                self._later(doubts, error)
                if error.fatal:
                    self._on_fatal(error)
            else:
                self._failures = 0
                await self._conclude(doubts, found, looked_at)

    async def _list(self, place: Place, queue_id: str, doubts: Sequence[Doubt]) -> list[RemoteJob]:
        """All pages of the jobs that could be among ``doubts``: an incomplete listing proves nothing."""
        earliest = min(doubt.job.intent_at or 0.0 for doubt in doubts)
        objects = {doubt.job.spec.media.key for doubt in doubts}
        wanted = JobFilter(
            queue_id=queue_id,
            input_object=objects.pop() if len(objects) == 1 else "",
            created_from=earliest - self._settings.adopt_margin_s,
            size=100,
        )
        listed: list[RemoteJob] = []
        keys = {doubt.job.spec.key for doubt in doubts}
        token = ""
        seen: set[str] = set()
        while True:
            await self._limiter.acquire()
            self.listings += 1
            page = await self._service.list_jobs(place, wanted, token)
            self._limiter.accepted()
            listed += [remote for remote in page.jobs if key_of_user_data(remote.user_data) in keys]
            if not page.next_token or (not page.jobs and page.next_token == token):
                return listed
            if page.next_token in seen:
                text = f"The list of the jobs of {place.bucket} names the page {page.next_token[:80]!r} again: it would never end."
                raise EndlessListing(text)
            token = page.next_token
            seen.add(token)

    async def _conclude(
        self, doubts: Sequence[Doubt], found: dict[int, RemoteJob], looked_at: float
    ) -> None:
        """Adopt what was found; free what stayed absent long enough; look again for the rest."""
        changed: list[tuple[Doubt, Callable[[Job], None]]] = []
        for doubt in doubts:
            if doubt.is_orphan and not doubt.looks and self._has_arrived_long_ago(doubt.job):
                doubt.since -= self._settings.reply_timeout_s
            doubt.looks += 1
            remote = found.get(doubt.job.id)
            if remote is not None:
                self._adopt(doubt.job, remote)
                changed.append((doubt, self._on_found))
            elif doubt.looks > 1 and looked_at - doubt.since >= self._settings.settle_s:
                changed.append(
                    (doubt, self._on_absent if self._free(doubt.job) else self._on_ended)
                )
            else:
                doubt.look_at = max(
                    doubt.since + self._settings.settle_s, looked_at + self._settings.settle_s / 4
                )
        if not changed:
            return
        await self._record([doubt.job for doubt, _ in changed])
        for doubt, hand_on in changed:
            self._tell(doubt)
            self._forget(doubt)
            hand_on(doubt.job)

    def _has_arrived_long_ago(self, job: Job) -> bool:
        """Whether the request of a process that died cannot be on its way any more.

        That process's clock and ours may differ; but not by more than the margin, for the service took requests of both: ours just now.
        """
        sent_ago_s = self._clock.now() - (job.intent_at or 0.0)
        return sent_ago_s >= self._settings.reply_timeout_s + self._settings.adopt_margin_s

    def _adopt(self, job: Job, remote: RemoteJob) -> None:
        job.step(Step.ADOPT)
        job.job_id = remote.job_id
        job.queue_id = remote.queue_id
        job.adopted = True
        job.code = job.message = ""
        job.submitted_at = remote.created_at or job.intent_at
        job.started_at = job.finished_at = None

    def _free(self, job: Job) -> bool:
        """The job does not exist: plan it again, or end it if that was its last attempt. True if it is planned."""
        job.step(Step.PROVE_ABSENT)
        job.adopted = False  # an earlier attempt may have been
        if job.job_id:  # the service had accepted it, and lost it
            job.past_job_ids, job.job_id = (*job.past_job_ids, job.job_id), ""
            job.submitted_at = job.started_at = None
        now = self._clock.now()
        decision = decide(self._settings, job.attempts, now, self._rng)
        if decision.again_at is None:
            job.step(Step.FAIL)
            job.finished_at = now
            job.message = f"{decision.reason}; last answer: {job.message}"
            return False
        job.not_before = decision.again_at
        job.code = job.message = ""
        return True

    def _later(self, doubts: Sequence[Doubt], error: OrchestratorError) -> None:
        self._failures += 1
        if isinstance(error, Throttled):
            self._limiter.throttled(error.retry_after_s)
        if self._failures == _TELL_AFTER:
            self._sink.emit(
                Noticed(
                    f"{len(doubts)} jobs in doubt cannot be looked up yet, and are not sent again before: {error}"
                )
            )
        look_at = self._clock.monotonic() + backoff_s(
            self._settings, self._failures, self._rng, self._settings.initial_s
        )
        for doubt in doubts:
            doubt.look_at = look_at

    def _leave(self, doubts: Sequence[Doubt], error: OrchestratorError) -> None:
        self._sink.emit(
            Noticed(
                f"{len(doubts)} jobs stay in doubt, because the service does not let us look: {error}"
            )
        )
        for doubt in doubts:
            self._forget(doubt)
            self._on_stuck(doubt.job)

    def _tell(self, doubt: Doubt) -> None:
        job = doubt.job
        if job.state is JobState.SUBMITTED:
            self._sink.emit(JobAdopted(job.spec.key, job.spec.media.key, job.job_id))
        elif job.state is JobState.PLANNED:  # else it has ended, and is told as ended
            self._sink.emit(JobProvenAbsent(job.spec.key, job.spec.media.key, doubt.looks))

    def _forget(self, doubt: Doubt) -> None:
        self._doubts.pop(doubt.job.id, None)
        if not self._doubts:
            self._empty.set()
