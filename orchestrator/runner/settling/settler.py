"""Bring jobs in doubt to a known state: found at the service, or proven absent. Never by resending.

The API has no idempotency key, but it echoes ``UserData``, which carries our job key. A job whose
answer was lost is looked for in the job list. If it is found, it is adopted. If it is absent, that
proves something only if the list can be trusted (``evidence``), and only after a while, because the
list may lag behind. Only then may it be sent again. Jobs of one bucket are looked for together.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobAdopted, JobProvenAbsent, Noticed
from orchestrator.domain.states import JobState, Step
from orchestrator.domain.wording import counted
from orchestrator.errors import (
    BucketRefused,
    EndlessListing,
    OrchestratorError,
    Rejected,
    Throttled,
)
from orchestrator.runner.retry import backoff_s
from orchestrator.runner.settling.evidence import ADOPT_MARGIN_S, Trust, attempts_of, could_be
from orchestrator.runner.settling.list_search import ListSearch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.remote import RemoteJob
    from orchestrator.domain.spec import Place
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.routing import Routing
    from orchestrator.runner.settling.job_list import JobList
    from orchestrator.runner.settling.list_search import Look
    from orchestrator.runner.shutdown import Shutdown

_REPORT_AFTER = 3
"""Failed looks in a row that are reported; one or two are nothing unusual."""
_GIVE_UP_AFTER = 8.0
"""Settle times after which a job whose absence cannot be proven is left in doubt. It is looked for
again when the list can be judged better."""
SETTLE_GRACE_S = 60.0
"""Time beyond the settle delay and the reply timeout for which a run that stops waits for jobs in
doubt ..."""
UNSHOWN_S = 20.0
"""... but no longer than this while the service does not show its list of jobs."""
_LONG_S = 20.0
"""A wait of at least this length is announced."""
_TWIN = "its list of jobs shows one of the same object without a readable key"
"""Reason why the absence of one job is not proven. It concerns no other job, and does not pass."""
_HOPELESS_AFTER_S = 600.0
"""A request that never reaches the service is repeated for at least this time."""


@dataclass(slots=True)
class Doubt:
    """A job in doubt. Instants are monotonic.

    Attributes:
        job: The job.
        since: When it was known to be unanswered.
        look_at: When to look next.
        looks: How often it was looked for.
        is_orphan: The process that sent it is gone.
        is_left: The run no longer waits for it.
        twin: Reason if it may be another job that is listed; else empty.
    """

    job: Job
    since: float
    look_at: float
    looks: int = 0
    is_orphan: bool = False
    is_left: bool = False
    twin: str = ""


@dataclass(slots=True)
class _Absences:
    """Proofs in this visit that a job did not arrive."""

    count: int = 0
    first_at: float = 0.0


@dataclass(slots=True)
class _Verdicts:
    """Result of one look: what each job in doubt turned out to be."""

    found: list[tuple[Doubt, RemoteJob]] = field(default_factory=list)
    absent: list[Doubt] = field(default_factory=list)
    open: list[Doubt] = field(default_factory=list)
    extra: list[tuple[Job, RemoteJob]] = field(default_factory=list)


class Settler:
    """ListSearch for jobs in doubt.

    Args:
        ports: The ports.
        routing: Where jobs go.
        shutdown: Stops the run at an error that waiting cannot cure.
        job_list: The job lists.
    """

    def __init__(
        self, ports: Ports, routing: Routing, shutdown: Shutdown, job_list: JobList
    ) -> None:
        self._clock = ports.clock
        self._limiter = ports.list_limiter
        self._settings = ports.settings
        self._rng = ports.rng
        self._sink = ports.sink
        self._routing = routing
        self._shutdown = shutdown
        self._list = job_list
        self.search = ListSearch(job_list, ports.clock, ports.settings)
        self._doubts: dict[int, Doubt] = {}
        self._absences: dict[int, _Absences] = defaultdict(_Absences)
        self._looked_at: dict[Place, float] = {}
        self._failures = 0
        self._trouble = ""  # why the last look failed or proved nothing
        self._reported: set[tuple[Place, str]] = set()
        self._wake = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def put(self, job: Job, *, is_orphan: bool = False) -> None:
        """Take a job in doubt.

        Args:
            job: The job.
            is_orphan: The process that sent it died before the answer came, or its time was up.
                The request may arrive as late as that process would have waited, and the time of
                the job runs from then.
        """
        now = self._clock.monotonic()
        doubt = Doubt(job, now, now + min(1.0, self._settings.settle_s / 4), is_orphan=is_orphan)
        if is_orphan and self._settings.list_is_exact:
            doubt.look_at = now
        elif is_orphan:
            doubt.since += self._settings.reply_timeout_s
        self._doubts[job.id] = doubt
        self._list.know_queue(job.spec.media.place, job.spec.queue_id)
        self.search.doubt(job)
        self._empty.clear()
        self._wake.set()

    def know(self, job: Job, *, is_new: bool) -> None:
        """Note a job that the service has accepted: its list must show it.

        Args:
            job: The job.
            is_new: It was accepted just now.
        """
        place = job.spec.media.place
        self._list.know_queue(place, job.queue_id)
        is_first = bool(self._doubts) and not self.search.trust(place).witnesses
        self.search.know(job, is_new=is_new)
        if is_first:
            self._take_back(place)

    def _take_back(self, place: Place) -> None:
        """Look again for jobs that were left: the list can be judged by an accepted job now."""
        look_at = self._clock.monotonic() + self._settings.settle_s
        for doubt in self._doubts.values():
            if doubt.is_left and doubt.job.spec.media.place == place:
                doubt.is_left, doubt.look_at = False, look_at
                self._routing.take_back()
                self._empty.clear()
        self._wake.set()

    @property
    def in_doubt(self) -> int:
        """Number of jobs in doubt that the run waits for."""
        return sum(not doubt.is_left for doubt in self._doubts.values())

    def waits_for(self) -> list[str]:
        """Return what keeps the jobs in doubt, in words. Those that were left keep no run."""
        if not self.in_doubt:
            return []
        trouble = self.search.trouble or self._trouble
        has_failed = self._failures or self.search.trouble
        said = "the last look failed" if has_failed else "the last look proved nothing"
        why = f" ({said}: {trouble})" if trouble else ""
        return [f"{counted(self.in_doubt, 'job')} in doubt, looked up in the job list{why}"]

    async def drain(self) -> None:
        """Wait for the jobs in doubt before the run ends: not for long, and aloud."""
        if self._empty.is_set():
            return
        began_at = self._clock.monotonic()
        longest_s = self._settings.settle_s + self._settings.reply_timeout_s + SETTLE_GRACE_S
        jobs = counted(self.in_doubt, "job")
        text = f"Waiting for {jobs} in doubt before the run ends, {longest_s:.0f} s at most"
        self._sink.emit(Noticed(text))
        self._hasten()
        while not self._empty.is_set():
            now = self._clock.monotonic()
            left_s = UNSHOWN_S
            if self._list.silent_since is not None:
                left_s = max(self._list.silent_since, began_at) + UNSHOWN_S - now
            left_s = min(left_s, began_at + longest_s - now)
            if left_s <= 0:
                self._give_up_waiting(now - began_at)
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._empty.wait()

    def _hasten(self) -> None:
        """Look again at once if the last look failed, so that a run that ends tries once more."""
        if self._failures:
            now = self._clock.monotonic()
            for doubt in self._doubts.values():
                doubt.look_at = min(doubt.look_at, now) if not doubt.is_left else doubt.look_at
            self._wake.set()

    def _give_up_waiting(self, waited_s: float) -> None:
        jobs, verb = counted(self.in_doubt, "job"), "is" if self.in_doubt == 1 else "are"
        text = f"{jobs} {verb} left in doubt after {waited_s:.0f} s; the next run looks again"
        if trouble := self.search.trouble or self._trouble:
            text += f" ({trouble})"
        self._sink.emit(Noticed(text))

    def _announce_orphans(self) -> None:
        """Say how long the requests of a process that is gone keep the run, if that is long."""
        least_s = self._settings.reply_timeout_s + self._settings.settle_s
        orphans = sum(doubt.is_orphan for doubt in self._doubts.values())
        if orphans and least_s >= _LONG_S and not self._settings.list_is_exact:
            requests = counted(orphans, "request")
            text = (
                f"The answers to {requests} were not recorded before the last process ended. They "
                "are looked up in the service's list of jobs. What is absent is sent again, after "
                f"{least_s:.0f} s or more. Other jobs do not wait for that"
            )
            self._sink.emit(Noticed(text))

    async def run(self) -> None:
        """Look until cancelled."""
        self._announce_orphans()
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            next_at = min(map(self._due_at, self._doubts.values()), default=None)
            if next_at is not None and next_at <= now:
                await self._look_around(now)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if next_at is None else next_at - now):
                    await self._wake.wait()

    async def _look_around(self, now: float) -> None:
        """Look in each bucket where a job is due; take along those that are due soon."""
        soon = now + self._settings.settle_s / 4
        by_place: dict[Place, list[Doubt]] = defaultdict(list)
        for doubt in self._doubts.values():
            if doubt.look_at <= soon:
                by_place[doubt.job.spec.media.place].append(doubt)
        for place, doubts in by_place.items():
            if min(map(self._due_at, doubts)) <= now:
                self._looked_at[place] = now
                await self._look(place, doubts)

    def _due_at(self, doubt: Doubt) -> float:
        """Return when to look for a job: in a storm of doubts one look serves many."""
        last_at = self._looked_at.get(doubt.job.spec.media.place, -math.inf)
        return max(doubt.look_at, last_at + self._settings.settle_s / 4)

    async def _look(self, place: Place, doubts: list[Doubt]) -> None:
        is_proof = any(doubt.looks for doubt in doubts)
        try:
            look = await self.search.look(place, [doubt.job for doubt in doubts], is_proof=is_proof)
        except (Rejected, BucketRefused, EndlessListing) as error:
            self._leave(place, doubts, f"the service does not show its list of jobs ({error})")
        except OrchestratorError as error:
            # Nothing was learned. The jobs stay in doubt until the service shows its list.
            self._postpone(doubts, error)
            if error.fatal:
                self._shutdown.fatal(error)
        else:
            self._failures = 0
            self.search.trouble = ""
            verdicts = self._judge(doubts, look)
            twins = (doubt.twin for doubt in verdicts.open if doubt.twin)
            self._trouble = next(iter(look.reasons.values()), "") or next(twins, "")
            await self._conclude(place, verdicts, look)

    # --- what a look means

    def _judge(self, doubts: Sequence[Doubt], look: Look) -> _Verdicts:
        verdicts = _Verdicts()
        for doubt in doubts:
            job = doubt.job
            if doubt.is_orphan and not doubt.looks and self._has_arrived_long_ago(job):
                doubt.since -= self._settings.reply_timeout_s
            doubt.looks += 1
            ours = attempts_of(job, look.listed)
            if ours and ours[0].is_lost and not self._has_settled(doubt, look):
                # It may be an attempt of a ledger that was lost, and the list may lag.
                verdicts.open.append(doubt)
            elif ours:
                verdicts.found.append((doubt, ours[0]))
                lost = tuple(remote.job_id for remote in ours[1:] if remote.is_lost)
                job.past_job_ids = (*job.past_job_ids, *lost)
                verdicts.extra += [(job, remote) for remote in ours[1:] if not remote.is_lost]
            elif self._is_absent(doubt, look) and not (look.is_trial and verdicts.absent):
                verdicts.absent.append(doubt)
            else:
                verdicts.open.append(doubt)
        return verdicts

    def _has_settled(self, doubt: Doubt, look: Look) -> bool:
        """Return True if the list would show the job by now, if there is one."""
        if doubt.is_orphan and self._settings.list_is_exact:
            return True
        settle_s = look.trust.settle_s(self._settings.settle_s, doubt.since)
        return doubt.looks >= 2 and look.at - doubt.since >= settle_s

    def _is_absent(self, doubt: Doubt, look: Look) -> bool:
        if not self._has_settled(doubt, look):
            return False
        has_twin = any(could_be(remote, doubt.job, look.others) for remote in look.listed)
        doubt.twin = _TWIN if has_twin else ""
        return not (look.reasons or has_twin)

    def _has_arrived_long_ago(self, job: Job) -> bool:
        """Return True if the request of a dead process cannot be on its way any more.

        That process's clock and ours may differ, but not by more than the margin: the service
        took requests of both, ours just now.
        """
        sent_ago_s = self._clock.now() - (job.intent_at or 0.0)
        return sent_ago_s >= self._settings.reply_timeout_s + ADOPT_MARGIN_S

    async def _conclude(self, place: Place, verdicts: _Verdicts, look: Look) -> None:
        """Adopt what was found; free what is proven absent; look again for the rest."""
        for doubt, remote in verdicts.found:
            doubt.job.adopt(remote)
        for doubt in verdicts.absent:
            self._free(doubt.job, look.trust)
        if look.is_trial and verdicts.absent:
            self.search.tried(place)
        self._schedule(place, verdicts.open, look)
        changed = [doubt for doubt, _ in verdicts.found] + verdicts.absent
        if changed:
            await self._routing.save([doubt.job for doubt in changed])
        for doubt in changed:
            self._announce(doubt)
            self._forget(doubt)
            self._routing.route(doubt.job)
        for job, remote in verdicts.extra:
            await self._routing.found_twice(job, remote)

    def _schedule(self, place: Place, doubts: Sequence[Doubt], look: Look) -> None:
        settle_s = look.trust.settle_s(self._settings.settle_s)
        hopeless: dict[str, list[Doubt]] = defaultdict(list)
        why = next(iter(look.reasons.values()), "its list of jobs cannot be judged")
        for doubt in doubts:
            waited_s = look.at - doubt.since
            is_old = doubt.looks > 1 and waited_s >= _GIVE_UP_AFTER * settle_s
            if is_old and (doubt.twin or self.search.is_hopeless(place, look)):
                hopeless[doubt.twin or why].append(doubt)
            else:
                pause_s = max(settle_s, waited_s) / 4
                doubt.look_at = max(doubt.since + settle_s, look.at + pause_s)
        for reason, left in hopeless.items():
            self._leave(place, left, reason)

    # --- steps

    def _free(self, job: Job, trust: Trust) -> None:
        """Plan a job that does not exist again, unless its requests never arrive."""
        job.step(Step.PROVE_ABSENT)
        job.adopted = False  # an earlier attempt may have been
        if job.job_id:  # the service had accepted it, and lost it
            job.past_job_ids, job.job_id = (*job.past_job_ids, job.job_id), ""
            job.submitted_at = job.started_at = None
        else:
            job.attempts = max(job.attempts - 1, 0)  # that one never reached the service
        now = self._clock.monotonic()
        absences = self._absences[job.id]
        absences.first_at = absences.first_at if absences.count else now
        absences.count += 1
        tried_s = now - absences.first_at
        others_arrive = any(known.sent_at > absences.first_at for known in trust.witnesses)
        if (
            absences.count >= self._settings.attempts
            and tried_s >= _HOPELESS_AFTER_S
            and others_arrive
        ):
            job.step(Step.FAIL)
            job.finished_at = self._clock.now()
            job.message = (
                f"The request did not reach the service {absences.count} times in "
                f"{tried_s / 60:.0f} minutes, although others did; last answer: {job.message}"
            )
            return
        wait_s = backoff_s(self._settings, absences.count, self._rng)
        job.not_before = self._clock.now() + wait_s
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

    def _leave(self, place: Place, doubts: Sequence[Doubt], why: str) -> None:
        """Leave jobs in doubt, and say why once."""
        new = [doubt for doubt in doubts if not doubt.is_left]
        for doubt in doubts:
            doubt.look_at = float("inf")
        if new and (place, why) not in self._reported:
            self._reported.add((place, why))
            verb = "stays" if len(new) == 1 else "stay"
            jobs = counted(len(new), "job")
            self._sink.emit(Noticed(f"{jobs} {verb} in doubt and unsent: {why}"))
        for doubt in new:
            doubt.is_left = True
            self._routing.leave()
        self._check_empty()

    def _announce(self, doubt: Doubt) -> None:
        job = doubt.job
        if job.state is JobState.SUBMITTED:
            self._sink.emit(JobAdopted(job.spec.key, job.spec.media.key, job.job_id))
        elif job.state is JobState.PLANNED:  # else it has ended, and is announced as ended
            self._sink.emit(JobProvenAbsent(job.spec.key, job.spec.media.key, doubt.looks))

    def _forget(self, doubt: Doubt) -> None:
        self._doubts.pop(doubt.job.id, None)
        if doubt.is_left:
            self._routing.take_back()
        self._check_empty()

    def _check_empty(self) -> None:
        if all(doubt.is_left for doubt in self._doubts.values()):
            self._empty.set()
