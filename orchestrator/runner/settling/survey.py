"""Ask the service at the start of a visit what the account has already had done.

The service is the second ledger. A ledger may be new, restored from a backup, copied, or lost along
with its log. Every job carries its key in ``UserData``, so the service's list of jobs says which of
the manifest's jobs exist. They are adopted instead of paid for again.

For each bucket the ledger remembers up to when it knows every job: the last heartbeat of a visit
that had compared the whole manifest with the list. The list is read from there on, or for a ledger
without such a mark since ``lookback_s``.

A line may have left the manifest and come back later. So the jobs that no line names now are kept
in the ledger, until one does (``unnamed_jobs``): the list is not read that far back again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.domain.events import JobAdopted, Noticed
from orchestrator.domain.remote import JobFilter, RemoteJob
from orchestrator.domain.spec import JobKey, is_job_key, key_of_user_data
from orchestrator.domain.states import OPEN, REMOTE, JobState
from orchestrator.domain.wording import counted
from orchestrator.errors import (
    BucketRefused,
    ConnectFailed,
    EndlessListing,
    OrchestratorError,
    Rejected,
    Throttled,
)
from orchestrator.runner.retry import backoff_s
from orchestrator.runner.settling.evidence import ADOPT_MARGIN_S, is_of
from orchestrator.runner.settling.job_list import Extent
from orchestrator.runner.settling.unnamed_jobs import MOST_UNNAMED, decoded, encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import JobSpec, Place
    from orchestrator.runner.ports import Ports
    from orchestrator.runner.routing import Routing
    from orchestrator.runner.settling.job_list import JobList, Listing

_NOTICE_AFTER = 3
"""Failed tries before the user sees a notice."""
_PAID = REMOTE | {JobState.SUCCEEDED}
"""States of jobs that exist at the service, and of which another one is one too many."""
_PAGES_BY_NAME = 10
"""Pages that are read to find one job by its object."""
_AT_ONCE = 1000
"""Keys that the ledger is asked about at once."""


@dataclass(slots=True)
class _Found:
    """Jobs of one bucket at the service.

    Attributes:
        good: By key, those that may have stems, the newest first: it is the last to write them.
        lost: By key, the ids of the others.
        moves_mark: The next run need not read the same part of the list again. None: not known yet.
    """

    good: dict[JobKey, list[RemoteJob]] = field(default_factory=dict)
    lost: dict[JobKey, list[str]] = field(default_factory=dict)
    moves_mark: bool | None = None


class Survey:
    """Finds jobs of the manifest that exist at the service, bucket by bucket.

    Args:
        ports: The ports.
        routing: Saves adopted jobs.
        job_list: The job lists.
        lookback_s: How far a ledger without a heartbeat looks back; 0 to look at nothing.
    """

    def __init__(
        self, ports: Ports, routing: Routing, job_list: JobList, lookback_s: float
    ) -> None:
        self._ledger = ports.ledger
        self._clock = ports.clock
        self._settings = ports.settings
        self._limiter = ports.list_limiter
        self._rng = ports.rng
        self._sink = ports.sink
        self._routing = routing
        self._list = job_list
        self._lookback_s = lookback_s
        self._found: dict[Place, _Found] = {}
        self._is_complete = False
        self._reading = ""  # bucket whose list is being read
        self._trouble = ""  # why the last try failed

    def complete(self) -> None:
        """Note that the whole manifest was compared with the lists."""
        self._is_complete = True

    async def checkpoint(self) -> None:
        """Remember that every job until now is known: the others were sent by this ledger."""
        if not self._is_complete:
            return
        for place, found in list(self._found.items()):  # leftovers may add to it meanwhile
            if found.moves_mark is None:
                found.moves_mark = await self._keep_unnamed(place, found)
            if found.moves_mark:
                await self._ledger.remember(_mark(place), str(self._clock.now()).encode())

    async def _keep_unnamed(self, place: Place, found: _Found) -> bool:
        """Keep the jobs that no line of the manifest names; return False if they are too many."""
        own = await self._own_ids(list(found.good))
        unnamed = [
            remote
            for key, good in found.good.items()  # without those that were adopted meanwhile
            for remote in good
            if remote.job_id not in own.get(key, ())
        ]
        if len(unnamed) > MOST_UNNAMED:
            text = (
                f"More than {MOST_UNNAMED:,} jobs of {place.bucket} belong to no line of this "
                "manifest, too many to keep. The next run reads the list as far back again."
            )
            self._sink.emit(Noticed(text))
            return False
        await self._ledger.remember(_name_of(place), encoded(unnamed))
        return True

    def waits_for(self) -> list[str]:
        """Return what keeps the jobs that may exist at the service already, in words."""
        if not self._reading:
            return []
        why = f" ({self._trouble})" if self._trouble else ""
        return [f"the list of jobs of {self._reading}, which shows what was done already{why}"]

    async def _since(self, place: Place) -> float:
        now = self._clock.now()
        mark = await self._ledger.recall(_mark(place))
        return now - self._lookback_s if mark is None else min(float(mark), now) - ADOPT_MARGIN_S

    def may_adopt(self, specs: Sequence[JobSpec]) -> bool:
        """Return True if some of these jobs may exist at the service.

        Until they are adopted they must not be sent.
        """
        return any(
            (found := self._found.get(spec.media.place)) is None or spec.key in found.good
            for spec in specs
        )

    async def look(self, jobs: Sequence[Job]) -> None:
        """Read the lists of the buckets in which some of these jobs may still be sent, each once.

        A run that has nothing to send needs no list.
        """
        places = {job.spec.media.place for job in jobs if job.state in OPEN}
        for place in sorted(places - self._found.keys()):
            self._reading = place.bucket
            try:
                self._found[place] = await self._read(place)
            finally:
                self._reading = self._trouble = ""

    async def adopt(self, jobs: Sequence[Job]) -> None:
        """Adopt those planned jobs that the account has had done, or is having done.

        Jobs that are known under another id are reported, and a waiting one is cancelled. What is
        decided here is decided before the first await: the jobs are worked on meanwhile.
        """
        adopted, twice = self._compare(jobs)
        for job, remote in twice:
            self._routing.follow_instead(job, remote)
        if adopted:
            await self._routing.save(adopted)
            for job in adopted:
                self._sink.emit(JobAdopted(job.spec.key, job.spec.media.key, job.job_id))
        for job, remote in twice:
            if await self._is_ours(job):
                await self._routing.found_twice(job, remote)

    def _compare(self, jobs: Sequence[Job]) -> tuple[list[Job], list[tuple[Job, RemoteJob]]]:
        """Adopt; return the jobs that were adopted, and further jobs with the key of a job."""
        adopted: list[Job] = []
        twice: list[tuple[Job, RemoteJob]] = []
        for job in jobs:
            found = self._found.get(job.spec.media.place)
            if found is None or not (found.good or found.lost):
                continue
            if job.state is JobState.PLANNED:
                if ours := self._adopt(job, found):
                    adopted.append(job)
                    twice += [(job, remote) for remote in ours[1:]]
            elif job.state in _PAID and job.job_id:  # without one, only its stems were found
                # The other of a job that failed is kept: a retry must find it.
                twice += [(job, remote) for remote in _others(job, found)]
        return adopted, twice

    async def _is_ours(self, job: Job) -> bool:
        """Return True if it is known that the job's own id is not that of another.

        An answer may have been mixed up. Then the job found with its key is the only one, and must
        not be cancelled. A query shows it soon.
        """
        if job.adopted or not job.job_id or job.state not in REMOTE:
            return True
        wanted = JobFilter(input_object=job.spec.media.key)
        try:
            listing = await self._list.read(
                job.spec.media.place,
                wanted,
                lambda remote: remote.job_id == job.job_id,
                Extent(job.submitted_at, _PAGES_BY_NAME),
            )
        except OrchestratorError:
            return False
        return any(is_of(remote, job) for remote in listing.jobs)

    def _adopt(self, job: Job, found: _Found) -> list[RemoteJob]:
        """Adopt the first of the jobs with this job's key; return all of them."""
        key = job.spec.key
        lost = [job_id for job_id in found.lost.get(key, ()) if job_id not in job.past_job_ids]
        if lost:
            job.past_job_ids = (*job.past_job_ids, *lost)
        ours = [
            remote for remote in found.good.pop(key, ()) if remote.job_id not in job.past_job_ids
        ]
        if ours:
            job.adopt(ours[0])
            job.attempts = max(job.attempts, 1)
        return ours

    # --- reading

    async def _read(self, place: Place) -> _Found:
        if self._lookback_s <= 0:
            return _Found(moves_mark=True)
        unnamed = await self._unnamed_at(place)
        listing = await self._until_answered(place)
        if listing is None:
            return _Found(moves_mark=False)
        found = _Found()
        by_id = {remote.job_id: remote for remote in (*unnamed, *listing.jobs)}
        for remote in sorted(by_id.values(), key=lambda remote: -(remote.created_at or 0.0)):
            key = _key_of(remote)
            if remote.is_lost:
                found.lost.setdefault(key, []).append(remote.job_id)
            else:
                found.good.setdefault(key, []).append(remote)
        if not listing.is_whole:
            self._report_limit(place, listing)
        return found

    async def _unnamed_at(self, place: Place) -> list[RemoteJob]:
        """Return the jobs that earlier runs have kept, without those that the vendor forgets."""
        earliest = self._clock.now() - self._lookback_s
        kept = decoded(await self._ledger.recall(_name_of(place)))
        return [
            remote for remote in kept if remote.created_at is None or remote.created_at >= earliest
        ]

    async def _until_answered(self, place: Place) -> Listing | None:
        """Read the list, as often as it takes; None if the service does not show it."""
        since = await self._since(place)
        failures = 0
        extent = Extent(
            since,
            tries=math.inf,
            on_failure=lambda *failure: self._note(place, *failure),
            sift=self._without_own,
        )
        while True:
            try:
                return await self._list.read(
                    place,
                    JobFilter(created_from=since),
                    lambda remote: is_job_key(key_of_user_data(remote.user_data)),
                    extent,
                )
            except (Rejected, BucketRefused, EndlessListing) as error:
                # The first job shows if the bucket itself is refused.
                text = f"Cannot see which jobs {place.bucket} has had done already: {error}"
                self._sink.emit(Noticed(text))
                return None
            except OrchestratorError as error:  # the list of queues was not shown
                if error.fatal:
                    raise
                failures += 1
                if isinstance(error, Throttled):
                    self._limiter.throttled(error.retry_after_s)
                self._note(place, error, failures)
                await self._clock.sleep(backoff_s(self._settings, failures, self._rng))

    async def _without_own(self, jobs: list[RemoteJob]) -> list[RemoteJob]:
        """Return the jobs without those that the ledger has with their ids: nearly all of them.

        After a takeover in the middle of a large run there are a hundred thousand.
        """
        own = await self._own_ids([_key_of(remote) for remote in jobs])
        return [
            remote
            for remote in jobs
            if remote.is_lost or remote.job_id not in own.get(_key_of(remote), ())
        ]

    async def _own_ids(self, keys: Sequence[JobKey]) -> dict[JobKey, tuple[str, ...]]:
        """Return the ids of the jobs that the ledger has under these keys."""
        own: dict[JobKey, tuple[str, ...]] = {}
        for begin in range(0, len(keys), _AT_ONCE):
            known = await self._ledger.find(keys[begin : begin + _AT_ONCE])
            own |= {key: _ids_of(job) for key, job in known.items()}
        return own

    def _note(self, place: Place, error: OrchestratorError, failures: int) -> None:
        self._trouble = str(error)
        if failures == _NOTICE_AFTER:
            advice = (
                ". Check the network, and the region" if isinstance(error, ConnectFailed) else ""
            )
            text = (
                f"Waiting for the list of jobs of {place.bucket}, which shows what was done "
                f"already ({error}){advice}"
            )
            self._sink.emit(Noticed(text))

    def _report_limit(self, place: Place, listing: Listing) -> None:
        until = "an unknown time"
        if listing.oldest_at is not None:
            until = f"{datetime.fromtimestamp(listing.oldest_at, UTC):%Y-%m-%d %H:%M UTC}"
        jobs = counted(listing.seen, "job")
        text = f"Looked back at {jobs} of {place.bucket}, to {until}; older ones were not looked at"
        self._sink.emit(Noticed(text))


def _mark(place: Place) -> str:
    """Name under which the ledger remembers up to when it knows the jobs of a bucket."""
    return f"known.{place.region}.{place.bucket}"


def _name_of(place: Place) -> str:
    """Name under which the ledger keeps jobs of a bucket that no line of the manifest names."""
    return f"strays.{place.region}.{place.bucket}"


def _key_of(remote: RemoteJob) -> JobKey:
    return JobKey(key_of_user_data(remote.user_data))


def _ids_of(job: Job) -> tuple[str, ...]:
    return job.job_id, *job.past_job_ids


def _others(job: Job, found: _Found) -> list[RemoteJob]:
    """Return the jobs at the service with the key of a known job, and another id."""
    return [
        remote for remote in found.good.pop(job.spec.key, ()) if remote.job_id not in _ids_of(job)
    ]
