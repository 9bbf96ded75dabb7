"""Read the service's list of the jobs of a bucket, newest first, page by page.

Some services insist on ``queueId`` (the older pages of the API require it). Then every known queue
is read: those of the manifest and of accepted jobs, or else those of the list of queues.

A page that the service does not show now is asked for again. To begin at the first page after each
failure would never end where one call in twenty fails and the list is long.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from orchestrator.errors import (
    BucketRefused,
    EndlessListing,
    OrchestratorError,
    Rejected,
    Throttled,
)
from orchestrator.runner.retry import backoff_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.domain.remote import JobFilter, JobPage, RemoteJob
    from orchestrator.domain.spec import Place
    from orchestrator.runner.ports import Ports

MOST_PAGES = 1000
"""Pages of one reading: 100,000 jobs. More would take longer than is worth waiting for."""
_T = TypeVar("_T")
_TRIES = 4
"""Tries of one page, unless the reading says otherwise."""
SIFT_AT = 10_000
"""Jobs in memory after which those that are not needed are dropped: about 10 MB."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Bounds of the reading of a list.

    Attributes:
        until: Stop at jobs created before this instant.
        most_pages: Stop after this many pages.
        tries: Tries of each page.
        on_failure: Receives each failed try that is followed by another: error, and failures in a
            row.
        sift: Returns those of many kept jobs that are needed. It may ask the ledger, which takes
            longer than ``keep``.
    """

    until: float | None = None
    most_pages: int = MOST_PAGES
    tries: float = _TRIES
    on_failure: Callable[[OrchestratorError, int], None] = lambda _error, _failures: None
    sift: Callable[[list[RemoteJob]], Awaitable[list[RemoteJob]]] | None = None


@dataclass(slots=True)
class Listing:
    """Part of a job list.

    Attributes:
        jobs: The jobs that were to be kept.
        seen: Number of jobs read, kept or not.
        oldest_at: When the oldest job that was read was created, or None.
        is_whole: All of the wanted part was read.
    """

    jobs: list[RemoteJob] = field(default_factory=list)
    seen: int = 0
    oldest_at: float | None = None
    is_whole: bool = True


class JobList:
    """The job lists of all buckets.

    Args:
        ports: The ports.

    Attributes:
        calls: List calls made.
        silent_since: When the first call began that was not answered, monotonic; None if the last
            one was.
    """

    def __init__(self, ports: Ports) -> None:
        self.calls = 0
        self.silent_since: float | None = None
        self._service = ports.service
        self._limiter = ports.list_limiter
        self._clock = ports.clock
        self._settings = ports.settings
        self._rng = ports.rng
        self._queues: dict[Place, dict[str, None]] = {}  # in the order in which they were seen
        self._needs_queue: set[Place] = set()

    def know_queue(self, place: Place, queue_id: str) -> None:
        """Remember a remote queue that jobs of this bucket use."""
        if queue_id:
            self._queues.setdefault(place, {})[queue_id] = None

    def read_by_queue(self, place: Place) -> bool:
        """Read this bucket queue by queue from now on; return False if it is, or none is known."""
        if place in self._needs_queue or not self._queues.get(place):
            return False
        self._needs_queue.add(place)
        return True

    async def read(
        self,
        place: Place,
        wanted: JobFilter,
        keep: Callable[[RemoteJob], bool],
        extent: Extent,
    ) -> Listing:
        """Read the list from the newest job on.

        Args:
            place: The bucket.
            wanted: The filter.
            keep: Choose the jobs to return.
            extent: How far to read.

        Raises:
            EndlessListing: If the service returns the same page twice.
            OrchestratorError: If the service does not show the list. Part of a list proves nothing.
        """
        listing = Listing()
        if place not in self._needs_queue:
            try:
                await self._read(place, wanted, keep, listing, extent)
            except Rejected:
                if wanted.queue_id or not await self._find_queues(place):
                    raise
                self._needs_queue.add(place)
                listing = Listing()
            else:
                return listing
        for queue_id in list(self._queues[place]):
            of_queue = replace(wanted, queue_id=queue_id)
            await self._read(place, of_queue, keep, listing, extent)
        return listing

    async def _find_queues(self, place: Place) -> bool:
        if not self._queues.get(place):
            for queue_id in await self._called(self._service.queues(place)):
                self.know_queue(place, queue_id)
        return bool(self._queues.get(place))

    async def _called(self, call: Awaitable[_T]) -> _T:
        """Make one call, and note if it is answered."""
        self.calls += 1
        if self.silent_since is None:
            self.silent_since = self._clock.monotonic()
        try:
            answer = await call
        except (Rejected, BucketRefused):
            self.silent_since = None
            raise
        self.silent_since = None
        return answer

    async def _read(
        self,
        place: Place,
        wanted: JobFilter,
        keep: Callable[[RemoteJob], bool],
        listing: Listing,
        extent: Extent,
    ) -> None:
        token = ""
        seen: set[str] = set()
        sift_at = SIFT_AT
        for _ in range(extent.most_pages):
            page = await self._page(place, wanted, token, extent)
            listing.jobs += filter(keep, page.jobs)
            listing.seen += len(page.jobs)
            if extent.sift is not None and len(listing.jobs) >= sift_at:
                listing.jobs = await extent.sift(listing.jobs)
                sift_at = len(listing.jobs) + SIFT_AT
            created = [job.created_at for job in page.jobs if job.created_at is not None]
            if created:
                listing.oldest_at = min([*created, listing.oldest_at or created[0]])
            if not page.next_token or (not page.jobs and page.next_token == token):
                return
            is_dated = bool(created) and len(created) == len(page.jobs)
            if extent.until is not None and is_dated and max(created) < extent.until:
                return
            if page.next_token in seen:
                raise EndlessListing(
                    f"The list of jobs in {place.bucket} is stuck: the service returned the page "
                    f"{page.next_token[:80]!r} twice."
                )
            token = page.next_token
            seen.add(token)
        listing.is_whole = False

    async def _page(self, place: Place, wanted: JobFilter, token: str, extent: Extent) -> JobPage:
        failures = 0
        while True:
            await self._limiter.acquire()
            try:
                page = await self._called(self._service.list_jobs(place, wanted, token))
            except (Rejected, BucketRefused):
                raise
            except OrchestratorError as error:
                failures += 1
                if error.fatal or failures >= extent.tries:
                    raise
                if isinstance(error, Throttled):
                    self._limiter.throttled(error.retry_after_s)
                extent.on_failure(error, failures)
                await self._clock.sleep(backoff_s(self._settings, failures, self._rng))
            else:
                self._limiter.accepted()
                return page
