"""Bring jobs in doubt to a known state: found at the service, or proven absent. Never by resending.

The API has no idempotency key, but it echoes ``UserData``, which carries our job key. A job whose
answer was lost is looked for in the job list. If it is found, it is adopted. If it is absent, that
proves something only after a while, because the list may lag behind. So it is looked for again
until it has stayed absent for ``settle_s``. Only then may it be sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobAdopted, JobProvenAbsent, Noticed
from orchestrator.domain.remote import JobFilter
from orchestrator.domain.spec import key_of_user_data
from orchestrator.domain.states import JobState, Step
from orchestrator.domain.wording import counted
from orchestrator.errors import EndlessListing, OrchestratorError, Rejected, Throttled
from orchestrator.runner.retry import backoff_s, decide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.remote import RemoteJob
    from orchestrator.domain.spec import Place
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.routing import Routing
    from orchestrator.runner.shutdown import Shutdown

ADOPT_MARGIN_S = 1200.0
"""Lag of the service's clock that the search for a lost job allows for. The vendor refuses
requests beyond 15 minutes. A signature's time begins up to two minutes before it is used, and that
may be all that the service compares."""
_REPORT_AFTER = 3
"""Failed looks in a row that are reported; one or two are nothing unusual."""


@dataclass(slots=True)
class Doubt:
    """A job in doubt.

    Attributes:
        job: The job.
        since: When it was known to be unanswered, monotonic.
        look_at: When to look next, monotonic.
        looks: How often it was looked for.
        is_orphan: The process that sent it is gone.
    """

    job: Job
    since: float
    look_at: float
    looks: int = 0
    is_orphan: bool = False


def match(doubts: Sequence[Doubt], listed: Sequence[RemoteJob]) -> dict[int, RemoteJob]:
    """Return the listed jobs that are jobs in doubt, by job id in the ledger.

    An attempt is ours if ``UserData`` begins with the key of the job, and if its remote id is not
    that of an earlier attempt. Of several the oldest is taken: the lost answer was about that one.
    """
    by_key: dict[str, list[RemoteJob]] = defaultdict(list)
    for remote in listed:
        by_key[key_of_user_data(remote.user_data)].append(remote)
    found: dict[int, RemoteJob] = {}
    for doubt in doubts:
        known = by_key.get(doubt.job.spec.key, ())
        ours = [remote for remote in known if remote.job_id not in doubt.job.past_job_ids]
        if ours:
            found[doubt.job.id] = min(
                ours, key=lambda remote: (remote.created_at or 0.0, remote.job_id)
            )
    return found


class Settler:
    """Looks for jobs in doubt.

    Args:
        ports: The ports.
        routing: Where jobs go.
        shutdown: Stops the run at an error that waiting cannot cure.
    """

    def __init__(self, ports: Ports, routing: Routing, shutdown: Shutdown) -> None:
        self._service = ports.service
        self._limiter = ports.list_limiter
        self._clock = ports.clock
        self._settings = ports.settings
        self._rng = ports.rng
        self._sink = ports.sink
        self._routing = routing
        self._shutdown = shutdown
        self._doubts: dict[int, Doubt] = {}
        self._failures = 0
        self._trouble = ""  # reason of the last failed look
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.listings = 0
        """List calls made."""

    def put(self, job: Job, *, is_orphan: bool = False) -> None:
        """Take a job in doubt.

        Args:
            job: The job.
            is_orphan: The process that sent it died before the answer came, or its time was up.
                The request may arrive as late as that process would have waited, and the time of
                the job runs from then.
        """
        now = self._clock.monotonic()
        since = now + self._settings.reply_timeout_s if is_orphan else now
        first_look_s = min(1.0, self._settings.settle_s / 4)
        self._doubts[job.id] = Doubt(job, since, now + first_look_s, is_orphan=is_orphan)
        self._empty.clear()
        self._wake.set()

    @property
    def in_doubt(self) -> int:
        """Number of jobs in doubt that are being looked up."""
        return len(self._doubts)

    def waits_for(self) -> list[str]:
        """Return what keeps the jobs in doubt, in words."""
        if not self._doubts:
            return []
        why = f" (the last look failed: {self._trouble})" if self._failures else ""
        return [f"{counted(len(self._doubts), 'job')} in doubt, looked up in the job list{why}"]

    async def drain(self) -> None:
        """Return when no job is in doubt."""
        await self._empty.wait()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            due = [doubt for doubt in self._doubts.values() if doubt.look_at <= now]
            if due:
                await self._look(due)
                continue
            next_at = min((doubt.look_at for doubt in self._doubts.values()), default=None)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if next_at is None else next_at - now):
                    await self._wake.wait()

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
                # Nothing was learned. The jobs stay in doubt until the service shows its list.
                self._postpone(doubts, error)
                if error.fatal:
                    self._shutdown.fatal(error)
            else:
                self._failures = 0
                await self._conclude(doubts, found, looked_at)

    async def _list(self, place: Place, queue_id: str, doubts: Sequence[Doubt]) -> list[RemoteJob]:
        """Return all listed jobs that could be among ``doubts``; part of a list proves nothing."""
        earliest = min(doubt.job.intent_at or 0.0 for doubt in doubts)
        objects = {doubt.job.spec.media.key for doubt in doubts}
        wanted = JobFilter(
            queue_id=queue_id,
            input_object=objects.pop() if len(objects) == 1 else "",
            created_from=earliest - ADOPT_MARGIN_S,
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
                raise EndlessListing(
                    f"The list of jobs in {place.bucket} is stuck: the service returned the page "
                    f"{page.next_token[:80]!r} twice."
                )
            token = page.next_token
            seen.add(token)

    async def _conclude(
        self, doubts: Sequence[Doubt], found: dict[int, RemoteJob], looked_at: float
    ) -> None:
        """Adopt what was found; free what stayed absent long enough; look again for the rest."""
        settle_s = self._settings.settle_s
        changed: list[Doubt] = []
        for doubt in doubts:
            if doubt.is_orphan and not doubt.looks and self._has_arrived_long_ago(doubt.job):
                doubt.since -= self._settings.reply_timeout_s
            doubt.looks += 1
            remote = found.get(doubt.job.id)
            if remote is not None:
                self._adopt(doubt.job, remote)
                changed.append(doubt)
            elif doubt.looks > 1 and looked_at - doubt.since >= settle_s:
                self._free(doubt.job)
                changed.append(doubt)
            else:
                doubt.look_at = max(doubt.since + settle_s, looked_at + settle_s / 4)
        if not changed:
            return
        await self._routing.save([doubt.job for doubt in changed])
        for doubt in changed:
            self._announce(doubt)
            self._forget(doubt)
            self._routing.route(doubt.job)

    def _has_arrived_long_ago(self, job: Job) -> bool:
        """Return True if the request of a dead process cannot be on its way any more.

        That process's clock and ours may differ, but not by more than the margin: the service
        took requests of both, ours just now.
        """
        sent_ago_s = self._clock.now() - (job.intent_at or 0.0)
        return sent_ago_s >= self._settings.reply_timeout_s + ADOPT_MARGIN_S

    def _adopt(self, job: Job, remote: RemoteJob) -> None:
        job.step(Step.ADOPT)
        job.job_id = remote.job_id
        job.queue_id = remote.queue_id
        job.adopted = True
        job.code = job.message = ""
        job.submitted_at = remote.created_at or job.intent_at
        job.started_at = job.finished_at = None

    def _free(self, job: Job) -> None:
        """Plan a job that does not exist again, or end it if that was its last attempt."""
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
        else:
            job.not_before = decision.again_at
            job.code = job.message = ""

    def _postpone(self, doubts: Sequence[Doubt], error: OrchestratorError) -> None:
        self._failures += 1
        self._trouble = str(error)
        if isinstance(error, Throttled):
            self._limiter.throttled(error.retry_after_s)
        if self._failures == _REPORT_AFTER:
            jobs, them = counted(len(doubts), "job"), "It is" if len(doubts) == 1 else "They are"
            text = (
                f"Cannot look up {jobs} in doubt yet ({error}). {them} not resent until that works."
            )
            self._sink.emit(Noticed(text))
        initial_s = self._settings.initial_s
        delay_s = backoff_s(self._settings, self._failures, self._rng, initial_s)
        look_at = self._clock.monotonic() + delay_s
        for doubt in doubts:
            doubt.look_at = look_at

    def _leave(self, doubts: Sequence[Doubt], error: OrchestratorError) -> None:
        jobs = counted(len(doubts), "job")
        verb = "stays" if len(doubts) == 1 else "stay"
        text = f"{jobs} {verb} in doubt: the service does not show its list of jobs ({error})"
        self._sink.emit(Noticed(text))
        for doubt in doubts:
            self._forget(doubt)
            self._routing.leave_in_doubt()

    def _announce(self, doubt: Doubt) -> None:
        job = doubt.job
        if job.state is JobState.SUBMITTED:
            self._sink.emit(JobAdopted(job.spec.key, job.spec.media.key, job.job_id))
        elif job.state is JobState.PLANNED:  # else it has ended, and is announced as ended
            self._sink.emit(JobProvenAbsent(job.spec.key, job.spec.media.key, doubt.looks))

    def _forget(self, doubt: Doubt) -> None:
        self._doubts.pop(doubt.job.id, None)
        if not self._doubts:
            self._empty.set()
