"""The jobs that are followed, kept in the orders in which ``poll`` looks at them: thousands of them cost a decision no more than ten do.

Nothing is searched, because what changes goes to an end: a job that was looked at goes behind all others that run, a job that was taken
goes behind all others that wait. Where one comes out of turn (the service stopped it again, a hint was wrong), its line is put in
order before it is looked at next.
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
    """A job that is followed. Instants are monotonic.

    Attributes:
        job: The job.
        since: When it was taken.
        looked_at: When it was looked at last; ``since`` if never; minus infinity if it may have ended long ago.
        hinted_at: When somebody said that it has ended, or None.
        missed: Queries in a row that did not know it.
        missed_since: Since when.
        is_from_before: It was at the service before it was taken, nobody knows for how long.
        is_asked: A query about it is under way.
        running_since: When it was first seen running, or None.
        number: Its place in the order in which jobs were taken; given by ``Followed``.
        line: Where ``Followed`` keeps it.
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
    number: int = 0
    line: Line | None = field(default=None, repr=False)

    @property
    def is_running(self) -> bool:
        """It was seen running."""
        return self.job.state is JobState.RUNNING

    @property
    def ran_power(self) -> int:
        """For how long it was seen running, as a power of two: at least half of ``2 ** ran_power`` seconds; 0 if for less than one."""
        return (
            0
            if self.running_since is None
            else int(self.looked_at - self.running_since).bit_length()
        )

    @property
    def may_have_ended(self) -> bool:
        """Somebody said that it has ended, or nobody knows for how long it has been at the service."""
        return self.hinted_at is not None or self.looked_at == -math.inf


class Line:
    """Some of the jobs, in order.

    Args:
        key: What they are ordered by; it mostly grows from one job that comes to the next.
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
        """Take a job."""
        key = self._key(tracked)
        if not self._jobs:
            self._is_in_order = True
        elif key < self._last:
            self._is_in_order = False
        self._last = key
        self._jobs[tracked.number] = tracked
        tracked.line = self

    def remove(self, tracked: Tracked) -> None:
        """Let a job go."""
        self._jobs.pop(tracked.number, None)
        tracked.line = None

    def free(self) -> Iterator[Tracked]:
        """Those that no query is under way for, in order."""
        if not self._is_in_order:
            ordered = sorted(self._jobs.values(), key=self._key)
            self._jobs = {tracked.number: tracked for tracked in ordered}
            self._last = self._key(ordered[-1]) if ordered else -math.inf
            self._is_in_order = True
        return (tracked for tracked in self._jobs.values() if not tracked.is_asked)


class AtPlace:
    """The jobs of one bucket.

    Attributes:
        taken: All of them, in the order in which they were taken.
        ended: Those that may have ended long since, as somebody said or as nobody knows, in the same order.
    """

    __slots__ = ("_running", "_waiting", "ended", "taken")

    def __init__(self) -> None:
        self.taken: dict[int, Tracked] = {}
        self.ended = Line(attrgetter("number"))
        self._running: dict[
            tuple[Length | None, int], Line
        ] = {}  # by the length of their media, and for how long they were seen running
        self._waiting: dict[int, Line] = {}  # by level

    def line_of(self, tracked: Tracked) -> Line:
        """Where a job belongs now."""
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
            self._running = {
                known: line for known, line in self._running.items() if line
            }  # those that it was among before may be gone
            line = self._running[like] = Line(attrgetter("looked_at"))
        return line

    def running(self) -> list[Line]:
        """Those that run, and of which nothing else is known. In each line all are expected to run for the same time.

        The one that was not looked at for longest comes first in its line.
        """
        return [line for line in self._running.values() if line]

    def waiting(self) -> Iterator[Tracked]:
        """Those that are not known to run, free ones only, in the service's order: level, then age."""
        for line in self._waiting.values():
            yield from line.free()

    def is_queued(self, least: int) -> bool:
        """Whether at least so many jobs, and as many as run, wait at the service: it will not stand idle before all that run have ended."""
        waiting = sum(map(len, self._waiting.values()))
        return waiting >= max(least, sum(map(len, self._running.values())))

    def first(self) -> Tracked | None:
        """The free one that was taken first."""
        return next((tracked for tracked in self.taken.values() if not tracked.is_asked), None)


class Followed:
    """All jobs that are followed.

    Args:
        jobs: Those to begin with, in the order in which they were taken.
    """

    def __init__(self, jobs: Iterable[Tracked] = ()) -> None:
        self._numbers = count(1)
        self._places: dict[Place, AtPlace] = {}
        for tracked in jobs:
            self.add(tracked)

    def add(self, tracked: Tracked) -> None:
        """Follow one more."""
        tracked.number = next(self._numbers)
        where = tracked.job.spec.media.place
        place = self._places.get(where)
        if place is None:
            place = self._places[where] = AtPlace()
        place.taken[tracked.number] = tracked
        place.line_of(tracked).put(tracked)

    def refile(self, tracked: Tracked) -> None:
        """Something about it has changed: it was looked at, or somebody said that it has ended. One that was removed stays away."""
        if tracked.line is not None:
            tracked.line.remove(tracked)
            self._places[tracked.job.spec.media.place].line_of(tracked).put(tracked)

    def remove(self, tracked: Tracked) -> None:
        """Follow it no longer."""
        if tracked.line is not None:
            tracked.line.remove(tracked)
            place = tracked.job.spec.media.place
            self._places[place].taken.pop(tracked.number)
            if not self._places[place].taken:
                del self._places[place]

    def places(self) -> list[AtPlace]:
        """The buckets that have a free job; first that of the free job that was taken first."""
        first = [
            (found.number, place)
            for place in self._places.values()
            if (found := place.first()) is not None
        ]
        return [place for _, place in sorted(first, key=lambda pair: pair[0])]
