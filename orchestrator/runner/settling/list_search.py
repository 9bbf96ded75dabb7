"""Look for jobs in doubt with few list calls, through filters that were seen to work.

A few objects are looked for by name, many by time. A filter that does not return a job that is
known to match it is not used again; then the other one is, with a margin of a day.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.domain.remote import JobFilter
from orchestrator.domain.spec import key_of_user_data
from orchestrator.runner.settling.evidence import (
    ADOPT_MARGIN_S,
    HOPELESS_S,
    Trust,
    Witness,
)
from orchestrator.runner.settling.job_list import MOST_PAGES, Extent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Clock
    from orchestrator.domain.remote import RemoteJob
    from orchestrator.domain.spec import Place
    from orchestrator.errors import OrchestratorError
    from orchestrator.runner.settings import RunnerSettings
    from orchestrator.runner.settling.job_list import JobList, Listing

_BY_NAME = 3
"""Objects that are looked for one by one; more are looked for together, by time. Where the stretch
of time was too long to be read, as many are looked for one by one as it had pages."""
_DAY_S = 86400.0
_MOST_PAGES_BY_TIME = 50
_FIRST_TRIAL_S = 120.0
"""Time that a job must stay absent, beyond the settle time, while no accepted job is known to judge
the list by. Twice as long for each job that was resent so; one of them may become such a job."""
_MOST_TRIALS = 3
_NO_WITNESS = "no witness"
_RECENT_S = 7 * 86400.0
"""Jobs of earlier visits that are older prove little: records are kept for about a month."""


@dataclass(slots=True)
class Look:
    """One look at the list of a bucket.

    Attributes:
        at: When it began, monotonic.
        trust: What is known of the list.
        listed: Jobs of the wanted objects, or with the wanted keys.
        others: Remote ids that are known to be other jobs.
        reasons: Why the look proves no absence: a short name, then the sentence. Empty if it does.
        is_trial: Nothing shows that the list works. One job may be resent, to find out.
    """

    at: float
    trust: Trust
    listed: list[RemoteJob] = field(default_factory=list)
    others: frozenset[str] = frozenset()
    reasons: dict[str, str] = field(default_factory=dict)
    is_trial: bool = False


class ListSearch:
    """ListSearch at the job lists, and learns how far each can be trusted.

    Args:
        job_list: The job lists.
        clock: Time.
        settings: Source of ``settle_s`` and ``list_is_exact``.

    Attributes:
        trouble: Why the service did not show a page during the present or last look; empty if it
            did.
    """

    def __init__(self, job_list: JobList, clock: Clock, settings: RunnerSettings) -> None:
        self.trouble = ""
        self._list = job_list
        self._clock = clock
        self._settings = settings
        self._trusts: dict[Place, Trust] = {}
        self._unjudged_since: dict[Place, float] = {}
        self._trials: Counter[Place] = Counter()
        self._too_long: set[Place] = set()  # where the last reading by time was given up

    def trust(self, place: Place) -> Trust:
        """Return what is known of the list of a bucket."""
        found = self._trusts.get(place)
        if found is None:
            found = self._trusts[place] = Trust()
        return found

    def doubt(self, job: Job) -> None:
        """Take back a witness that is in doubt itself."""
        self.trust(job.spec.media.place).forget(job.spec.key)

    def know(self, job: Job, *, is_new: bool) -> None:
        """Take an accepted job as a witness."""
        if not job.job_id or job.submitted_at is None:
            return
        if not is_new and self._clock.now() - job.submitted_at > _RECENT_S:
            return
        sent_at = self._clock.monotonic() - self._answered_in_s(job) if is_new else -math.inf
        spec = job.spec
        witness = Witness(job.job_id, spec.key, spec.media.key, job.submitted_at, sent_at)
        self.trust(spec.media.place).witnesses.append(witness)

    def _answered_in_s(self, job: Job) -> float:
        """Return how long the answer took, or the longest time if the clock jumped meanwhile."""
        longest_s = self._settings.reply_timeout_s
        took_s = (job.submitted_at or 0.0) - (job.intent_at or 0.0)
        return took_s if 0 <= took_s <= longest_s else longest_s

    async def look(self, place: Place, jobs: Sequence[Job], *, is_proof: bool) -> Look:
        """Look for jobs in doubt.

        Args:
            place: Their bucket.
            jobs: The jobs.
            is_proof: The look may have to prove an absence, so the list itself is checked too.

        Raises:
            OrchestratorError: If the service does not show its list.
        """
        self.trouble = ""
        trust = self.trust(place)
        look = Look(self._clock.monotonic(), trust)
        witness = trust.witness(look.at, self._settings.settle_s / 2)
        if is_proof and witness is not None:
            await self._calibrate(place, trust, witness, look.at)
            late = trust.late_witness(look.at)
            if late is not None and late is not witness and trust.by_object:
                # How late it is shows how long to wait for others.
                await self._shows(place, JobFilter(input_object=late.object), trust, late)
        look.others = frozenset(known.job_id for known in trust.witnesses)
        await self._search(place, jobs, look)
        if is_proof:
            self._find_reasons(place, witness, look)
        return look

    # --- reading

    def _extent(self, until: float, most_pages: int = MOST_PAGES) -> Extent:
        return Extent(until, most_pages, on_failure=self._note_failure)

    def _note_failure(self, error: OrchestratorError, _failures: int) -> None:
        self.trouble = str(error)

    async def _search(self, place: Place, jobs: Sequence[Job], look: Look) -> None:
        trust = look.trust
        objects = sorted({job.spec.media.key for job in jobs})
        keys = {job.spec.key for job in jobs}
        earliest = min(job.intent_at or 0.0 for job in jobs)

        def keep(remote: RemoteJob) -> bool:
            return (
                key_of_user_data(remote.user_data) in keys
                or remote.job_id in look.others
                or any(remote.is_about(name) for name in objects)
            )

        few = _MOST_PAGES_BY_TIME if place in self._too_long else _BY_NAME
        is_by_name = trust.by_object is not False and (
            len(objects) <= few or trust.by_time is False
        )
        if not is_by_name:
            is_whole = await self._search_by_time(place, earliest, keep, look)
            if is_whole or trust.by_object is False:
                self._compare_window(look, earliest)
                return
        for name in objects:
            wanted = JobFilter(input_object=name)
            listing = await self._list.read(place, wanted, keep, self._extent(earliest - _DAY_S))
            self._take(look, listing)

    async def _search_by_time(
        self, place: Place, earliest: float, keep: Callable[[RemoteJob], bool], look: Look
    ) -> bool:
        """Read a stretch of time; return False if it has too many jobs to read them all."""
        trust = look.trust
        # A filter by name that failed leaves the one by time without a check: be generous.
        margin_s = _DAY_S if trust.by_object is False else ADOPT_MARGIN_S
        begin = earliest - margin_s
        wanted = JobFilter() if trust.by_time is False else JobFilter(created_from=begin)
        is_last_way = trust.by_object is False
        most_pages = MOST_PAGES if is_last_way else _MOST_PAGES_BY_TIME
        listing = await self._list.read(place, wanted, keep, self._extent(begin, most_pages))
        if not listing.is_whole and not is_last_way:
            self._too_long.add(place)
            return False
        self._too_long.discard(place)
        self._take(look, listing)
        return True

    def _take(self, look: Look, listing: Listing) -> None:
        look.listed += listing.jobs
        if not listing.is_whole:
            look.reasons["it is too long"] = "the list of its jobs is too long to be read"

    # --- judging the list

    def _compare_window(self, look: Look, earliest: float) -> None:
        """Learn from the accepted jobs that this stretch of time must show."""
        # Not those that were accepted while the list was read.
        must_show = [
            known
            for known in look.trust.witnesses
            if known.job_id in look.others and known.accepted_at >= earliest
        ]
        if look.trust.compare(must_show, look.listed, look.at):
            look.trust.by_time = True
        shown = {remote.job_id for remote in look.listed}
        for known in must_show:
            is_late = HOPELESS_S <= look.at - known.sent_at < math.inf
            if is_late and known.job_id not in shown:
                look.reasons["a hole"] = f"its list lacks the job {known.job_id}, which it accepted"

    async def _calibrate(self, place: Place, trust: Trust, witness: Witness, now: float) -> None:
        """Check each filter once on a job that matches it, and the lag at each proof."""
        shown = await self._shows(place, JobFilter(input_object=witness.object), trust, witness)
        if not shown and self._list.read_by_queue(place):
            shown = await self._shows(place, JobFilter(input_object=witness.object), trust, witness)
        if shown:
            trust.by_object = True
        elif now - witness.sent_at >= HOPELESS_S:
            trust.by_object = False
        if trust.by_time is None or trust.by_object is False:
            around = JobFilter(
                created_from=witness.accepted_at - ADOPT_MARGIN_S,
                created_to=witness.accepted_at + ADOPT_MARGIN_S,
            )
            if await self._shows(place, around, trust, witness):
                trust.by_time = True
            elif shown or now - witness.sent_at >= HOPELESS_S:
                trust.by_time = False
                trust.forget_lag()  # it was the filter's

    async def _shows(self, place: Place, wanted: JobFilter, trust: Trust, witness: Witness) -> bool:
        """Return True if the list shows an accepted job through this filter."""
        until = witness.accepted_at - _DAY_S
        listing = await self._list.read(
            place,
            wanted,
            lambda remote: remote.job_id == witness.job_id,
            self._extent(until, _MOST_PAGES_BY_TIME),
        )
        return trust.compare([witness], listing.jobs, self._clock.monotonic())

    def _find_reasons(self, place: Place, witness: Witness | None, look: Look) -> None:
        trust, reasons = look.trust, look.reasons
        if trust.has_keys is False:
            reasons["no keys"] = "its list shows accepted jobs without the key that was sent"
        elif witness is None:
            if not self._settings.list_is_exact:
                self._wait_for_witness(place, look)
        elif trust.by_object is False and trust.by_time is False:
            reasons["no filter"] = (
                f"its list does not show the job {witness.job_id}, which it accepted"
            )
        elif not (trust.by_object or trust.by_time):
            reasons["lag"] = f"its list does not show the job {witness.job_id} yet"

    def _wait_for_witness(self, place: Place, look: Look) -> None:
        """Believe a list that cannot be checked only late, and only for one job at a time.

        No job of this bucket is known to have been accepted, so nothing shows that the list works.
        """
        since = self._unjudged_since.setdefault(place, look.at)
        needed_s = _FIRST_TRIAL_S * 2 ** self._trials[place]
        if look.at - since < needed_s or self._trials[place] >= _MOST_TRIALS:
            look.reasons[_NO_WITNESS] = "no accepted job shows that its list of jobs works"
        look.is_trial = not look.reasons

    def is_hopeless(self, place: Place, look: Look) -> bool:
        """Return True if nothing that can be awaited will show that the list works.

        Only an accepted job can, where there is none and nothing else speaks against the list.
        """
        has_witness = bool(look.trust.witnesses)
        has_other_reasons = bool(look.reasons.keys() - {_NO_WITNESS})
        return has_witness or has_other_reasons or self._trials[place] >= _MOST_TRIALS

    def tried(self, place: Place) -> None:
        """Note that a job is resent although nothing shows that the list works."""
        self._trials[place] += 1
        del self._unjudged_since[place]
