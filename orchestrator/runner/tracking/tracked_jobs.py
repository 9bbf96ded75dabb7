"""Index of tracked jobs in the orders in which the poll policy reads them.

A decision about thousands of jobs costs no more than one about ten. Nothing is searched, because
what changes goes to an end: a job that was queried goes behind all others that run, a new job goes
behind all others that wait. Where a job is filed out of turn (the service stopped it again, a hint
was wrong), its line is sorted before it is read next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING

from orchestrator.domain.states import JobState
from orchestrator.runner.tracking.run_times import length_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import Place
    from orchestrator.runner.tracking.run_times import Length


@dataclass(slots=True, eq=False)
class Tracked:
    """A tracked job. Instants are monotonic.

    Attributes:
        job: The job.
        since: When tracking began.
        looked_at: When it was last queried; ``since`` if never; minus infinity if it may have
            ended long ago.
        hinted_at: When a callback said that it has ended, or None.
        missed: Queries in a row that did not know it.
        missed_since: When the first of these was answered.
        is_from_before: It was at the service before tracking began, for an unknown time.
        is_asked: A query about it is on the wire.
        running_since: When it was first seen running, or None.
        refusals: Queries in a row about this job alone that were refused or could not be read. It
            is queried alone until one works.
        refused_since: When the first of these was answered.
        number: Its place in the order of arrival; set by :class:`TrackedJobs`.
        line: Where :class:`TrackedJobs` keeps it.
    """

    job: Job
    since: float
    looked_at: float
    hinted_at: float | None = None
    missed: int = 0
    missed_since: float = 0.0
    is_from_before: bool = False
    is_asked: bool = False
    running_since: float | None = None
    refusals: int = 0
    refused_since: float = 0.0
    number: int = 0
    line: Line | None = field(default=None, repr=False)

    @property
    def is_running(self) -> bool:
        """True if it was seen running."""
        return self.job.state is JobState.RUNNING

    @property
    def ran_power(self) -> int:
        """Power of two of the time that it was seen running.

        That is at least half of ``2 ** ran_power`` seconds; 0 for less than one second.
        """
        if self.running_since is None:
            return 0
        return int(self.looked_at - self.running_since).bit_length()

    @property
    def may_have_ended(self) -> bool:
        """True if a callback said that it has ended, or its time at the service is unknown."""
        return self.hinted_at is not None or self.looked_at == -math.inf


class Line:
    """Some of the jobs, in order.

    Args:
        key: Sort key; it mostly grows from one job to the next.
    """

    __slots__ = ("_is_in_order", "_jobs", "_key", "_last")

    def __init__(self, key: Callable[[Tracked], float]) -> None:
        self._key = key
        self._jobs: dict[int, Tracked] = {}  # by number
        self._last = -math.inf
        self._is_in_order = True

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, tracked: Tracked) -> None:
        """Add a job."""
        key = self._key(tracked)
        if not self._jobs:
            self._is_in_order = True
        elif key < self._last:
            self._is_in_order = False
        self._last = key
        self._jobs[tracked.number] = tracked
        tracked.line = self

    def remove(self, tracked: Tracked) -> None:
        """Remove a job."""
        self._jobs.pop(tracked.number, None)
        tracked.line = None

    def free(self) -> Iterator[Tracked]:
        """Iterate in order over the jobs without a query on the wire."""
        if not self._is_in_order:
            ordered = sorted(self._jobs.values(), key=self._key)
            self._jobs = {tracked.number: tracked for tracked in ordered}
            self._last = self._key(ordered[-1]) if ordered else -math.inf
            self._is_in_order = True
        return (tracked for tracked in self._jobs.values() if not tracked.is_asked)


class TrackedAtPlace:
    """The tracked jobs of one bucket.

    Attributes:
        all: All of them, in the order of arrival.
        ended: Those that may have ended long ago (``may_have_ended``), in the same order.
    """

    __slots__ = ("_running", "_waiting", "all", "ended")

    def __init__(self) -> None:
        self.all: dict[int, Tracked] = {}
        self.ended = Line(attrgetter("number"))
        # By the length of their media and the time that they were seen running.
        self._running: dict[tuple[Length | None, int], Line] = {}
        self._waiting: dict[int, Line] = {}  # by level, highest first

    def line_of(self, tracked: Tracked) -> Line:
        """Return the line that a job belongs to now."""
        if tracked.may_have_ended:
            return self.ended
        if tracked.is_running:
            return self._line_of_running(tracked)
        level = tracked.job.spec.level
        line = self._waiting.get(level)
        if line is None:
            line = Line(attrgetter("number"))
            self._waiting = dict(sorted({**self._waiting, level: line}.items(), reverse=True))
        return line

    def _line_of_running(self, tracked: Tracked) -> Line:
        if tracked.running_since is None:
            tracked.running_since = tracked.looked_at
        like = length_of(tracked.job.spec.media), tracked.ran_power
        line = self._running.get(like)
        if line is None:
            # The line that it leaves may be empty now.
            self._running = {known: line for known, line in self._running.items() if line}
            line = self._running[like] = Line(attrgetter("looked_at"))
        return line

    def running(self) -> list[Line]:
        """Return the lines of running jobs of which nothing else is known.

        The jobs of one line are expected to run for the same time; the one that was not queried
        for longest comes first.
        """
        return [line for line in self._running.values() if line]

    def waiting(self) -> Iterator[Tracked]:
        """Iterate over free jobs not known to run, in the service's order: level, then age."""
        for line in self._waiting.values():
            yield from line.free()

    def is_queued(self, least: int) -> bool:
        """Return True if ``least`` jobs, and as many as run, wait at the service.

        It will not be idle before all that run have ended.
        """
        waiting = sum(map(len, self._waiting.values()))
        return waiting >= max(least, sum(map(len, self._running.values())))

    def first(self) -> Tracked | None:
        """Return the free job that arrived first."""
        return next((tracked for tracked in self.all.values() if not tracked.is_asked), None)


class TrackedJobs:
    """All tracked jobs, by bucket.

    Args:
        jobs: Jobs to begin with, in the order of arrival.
    """

    def __init__(self, jobs: Iterable[Tracked] = ()) -> None:
        self._numbers = count(1)
        self._places: dict[Place, TrackedAtPlace] = {}
        for tracked in jobs:
            self.add(tracked)

    def add(self, tracked: Tracked) -> None:
        """Add a job."""
        tracked.number = next(self._numbers)
        where = tracked.job.spec.media.place
        place = self._places.get(where)
        if place is None:
            place = self._places[where] = TrackedAtPlace()
        place.all[tracked.number] = tracked
        place.line_of(tracked).put(tracked)

    def refile(self, tracked: Tracked) -> None:
        """Move a job to its line after it was queried or hinted at; a removed one stays away."""
        if tracked.line is not None:
            tracked.line.remove(tracked)
            self._places[tracked.job.spec.media.place].line_of(tracked).put(tracked)

    def remove(self, tracked: Tracked) -> None:
        """Remove a job."""
        if tracked.line is not None:
            tracked.line.remove(tracked)
            place = tracked.job.spec.media.place
            self._places[place].all.pop(tracked.number)
            if not self._places[place].all:
                del self._places[place]

    def places(self) -> list[TrackedAtPlace]:
        """Return the buckets with a free job, ordered by the first free job of each."""
        first = [
            (found.number, place)
            for place in self._places.values()
            if (found := place.first()) is not None
        ]
        return [place for _, place in sorted(first, key=lambda pair: pair[0])]
