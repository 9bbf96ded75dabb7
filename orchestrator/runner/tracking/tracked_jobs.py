"""Index of tracked jobs in the orders in which the poll policy reads them.

A decision about thousands of jobs costs no more than one about ten. Nothing is searched, because
what changes goes to an end: a job that was queried goes behind all others that run, a new job goes
behind all others that wait. Where a job is filed out of turn (the service stopped it again, a hint
was wrong), its line is sorted before it is read next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import chain, count, islice, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.states import JobState
from orchestrator.runner.tracking.run_times import length_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import Place
    from orchestrator.runner.tracking.run_times import Length


_NARROWED = 0.9
"""A service that seems to work on fewer jobs than before is believed step by step."""


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
        began_at: When it began to run, or was first seen running; None if it was not seen running.
        idle_at: Until when it is known to have waited at the service.
        is_queued: It was known to wait when the service's queue was last seen.
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
    began_at: float | None = None
    idle_at: float = -math.inf
    is_queued: bool = False
    refusals: int = 0
    refused_since: float = 0.0
    number: int = 0
    line: Line | None = field(default=None, repr=False)

    @property
    def is_running(self) -> bool:
        """True if it was seen running."""
        return self.job.state is JobState.RUNNING

    @property
    def open_at(self) -> float:
        """Latest instant at which it is known not to have ended."""
        return max(self.looked_at, self.idle_at)

    @property
    def start_at(self) -> float:
        """Instant at which it began to run; if that is unknown, the latest known one before."""
        if self.began_at is not None:
            return self.began_at
        return max(self.since, self.idle_at)

    @property
    def ran_power(self) -> int:
        """Power of two of the time that it was seen running.

        That is at least half of ``2 ** ran_power`` seconds; 0 for less than one second.
        """
        if self.began_at is None or not self.is_running:
            return 0
        return int(max(self.looked_at - self.began_at, 0.0)).bit_length()

    @property
    def may_have_ended(self) -> bool:
        """True if a callback said that it has ended, or its time at the service is unknown."""
        return self.hinted_at is not None or self.looked_at == -math.inf

    def begin(self, ago_s: float | None) -> None:
        """Note that it was seen running now, and for how long by the service's word.

        A wrong clock cannot make it begin while it was known to wait, or after it was seen.
        """
        earliest = self.idle_at if self.is_from_before else max(self.since, self.idle_at)
        began_at = self.looked_at - (ago_s or 0.0)
        self.began_at = min(max(began_at, earliest), self.looked_at)


class Answer(NamedTuple):
    """Jobs of one answer, by what it says of them.

    Attributes:
        waiting: They wait at the service.
        running: They run.
        ended: They have succeeded or failed.
        unclear: Nothing is known of them.
        is_paused: All that wait do so because their queue is paused.
    """

    waiting: list[Tracked]
    running: list[Tracked]
    ended: list[Tracked]
    unclear: list[Tracked]
    is_paused: bool = False


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

    def all(self) -> Iterable[Tracked]:
        """Return the jobs in order."""
        if not self._is_in_order:
            ordered = sorted(self._jobs.values(), key=self._key)
            self._jobs = {tracked.number: tracked for tracked in ordered}
            self._last = self._key(ordered[-1]) if ordered else -math.inf
            self._is_in_order = True
        return self._jobs.values()

    def free(self) -> Iterator[Tracked]:
        """Iterate in order over the jobs without a query on the wire."""
        return (tracked for tracked in self.all() if not tracked.is_asked)


class TrackedAtPlace:
    """The tracked jobs of one bucket.

    Each is in one of three groups: those that may have ended long ago (``may_have_ended``), those
    known to wait at the service, and all others, which may have begun.

    Attributes:
        all: All of them, in the order of arrival.
        ended: The first group, in the same order.
        accepted: Number of jobs that were ever added.
        since: Earliest known time of work on them: when the first of them was added, or when all
            were last seen waiting before any began.
        open_at: Latest instant at which one of them was known not to have ended.
        newest_at: Latest known start of one of them.
        queued_at: When a job was last seen waiting.
        width: Number of jobs that were seen to run at once while others waited.
        is_blind: The last answer showed no job that has not ended.
        is_stale: It showed none that waits, so those known to wait may have begun.
        is_paused: It showed only jobs whose queue is paused.
    """

    __slots__ = (
        "_begun", "_has_begun", "_queued", "accepted", "all", "ended", "is_blind", "is_paused",
        "is_stale", "newest_at", "open_at", "queued_at", "since", "width",
    )  # fmt: skip

    def __init__(self) -> None:
        self.all: dict[int, Tracked] = {}
        self.ended = Line(attrgetter("number"))
        self.accepted = 0
        self._has_begun = False
        self.since = math.inf
        self.width = 1
        self.is_blind = self.is_stale = self.is_paused = False
        self.open_at = self.newest_at = self.queued_at = -math.inf
        # By the length of their media and the time that they were seen running.
        self._begun: dict[tuple[Length | None, int], Line] = {}
        self._queued: dict[int, Line] = {}  # by level, highest first

    # --- lines

    def line_of(self, tracked: Tracked) -> Line:
        """Return the line that a job belongs to now."""
        if tracked.may_have_ended:
            return self.ended
        if not tracked.is_queued:
            return self._line_of_begun(tracked)
        level = tracked.job.spec.level
        line = self._queued.get(level)
        if line is None:
            line = Line(attrgetter("number"))
            self._queued = dict(sorted({**self._queued, level: line}.items(), reverse=True))
        return line

    def _line_of_begun(self, tracked: Tracked) -> Line:
        like = length_of(tracked.job.spec.media), tracked.ran_power
        line = self._begun.get(like)
        if line is None:
            # The line that it leaves may be empty now.
            self._begun = {known: line for known, line in self._begun.items() if line}
            line = self._begun[like] = Line(attrgetter("open_at"))
        return line

    def begun(self) -> list[Line]:
        """Return the lines of jobs that may have begun.

        The jobs of one line are expected to run for the same time; the one of which nothing was
        heard for longest comes first.
        """
        return [line for line in self._begun.values() if line]

    def begun_lengths(self) -> set[Length | None]:
        """Return the lengths of the jobs that may have begun."""
        return {length for (length, _), line in self._begun.items() if line}

    def spread(self, most: int) -> list[Tracked]:
        """Return up to ``most`` jobs that may have begun and were not seen running.

        They are spread evenly over all of these; the last one is among them.
        """
        unseen = self._unseen()
        total = sum(map(len, unseen))
        step = max(total // most, 1)
        every = chain.from_iterable(line.all() for line in unseen)
        picked = islice(every, total - step * min(most, total) + step - 1, None, step)
        return [one for one in picked if not one.is_running]

    def _unseen(self) -> list[Line]:
        """Return the lines with the jobs that were not seen running, and few others."""
        return [line for (_, ran_power), line in self._begun.items() if line and not ran_power]

    def queued(self) -> Iterator[Tracked]:
        """Iterate over the jobs known to wait, in the service's order: level, then age."""
        for line in self._queued.values():
            yield from line.all()

    @property
    def begun_count(self) -> int:
        """Number of jobs that may have begun."""
        return sum(map(len, self._begun.values()))

    @property
    def queued_count(self) -> int:
        """Number of jobs known to wait."""
        return sum(map(len, self._queued.values()))

    def first(self) -> Tracked | None:
        """Return the free job that arrived first."""
        return next((tracked for tracked in self.all.values() if not tracked.is_asked), None)

    # --- what becomes known

    def add(self, tracked: Tracked) -> None:
        """Add a job. While others wait at the service, a new one waits, too."""
        self.all[tracked.number] = tracked
        self.accepted += 1
        if self.since == math.inf:
            self.since = tracked.since
        if not tracked.may_have_ended:
            tracked.is_queued = not self.is_stale and any(self._queued.values())
            self.is_blind = False
            self.open_at = max(self.open_at, tracked.since)
            self.newest_at = max(self.newest_at, tracked.since)
        self.line_of(tracked).put(tracked)

    def refile(self, tracked: Tracked) -> None:
        """Move a job to the line that it belongs to now."""
        if tracked.line is not None:
            tracked.line.remove(tracked)
            self.line_of(tracked).put(tracked)

    def saw(self, answer: Answer, at: float) -> None:
        """Conclude from an answer which other jobs wait, and which have begun.

        The service takes jobs by level, then age. So one that arrived later than a waiting one of
        the same or a higher level waits, too; one that arrived earlier than one that has begun,
        and has no lower level, has begun. Where the answer contradicts itself, only what it says
        of each job counts.
        """
        waiting, begun = answer.waiting, [*answer.running, *answer.ended]
        if waiting or answer.unclear or any(one.hinted_at is None for one in begun):
            # Of the others a callback has said that they ended, so they say nothing of the rest.
            self.is_blind = not (waiting or answer.running or answer.unclear)
            self.is_stale = not waiting
            self.is_paused = answer.is_paused and not begun
        if begun and not self._has_begun:
            self._has_begun = True
            self.since = max(self.since, self.queued_at)
        self.width = max(self.width, len(answer.running))
        for tracked in begun:
            tracked.is_queued = False
            self._release(tracked, waiting)
        for tracked in waiting:
            tracked.is_queued, tracked.idle_at, tracked.began_at = True, at, None
        last = max((one.number for one in begun), default=0)
        self._hold([one for one in waiting if one.number > last], at)
        if waiting:
            for tracked in (*begun, *waiting):
                self.refile(tracked)
            running = self.begun_count - len(answer.ended)
            self.width = max(running, math.ceil(_NARROWED * self.width))
            self.queued_at = at
            self.open_at = max(self.open_at, at)

    def _release(self, begun: Tracked, waiting: Sequence[Tracked]) -> None:
        """Move the jobs that must have begun before this one."""
        for level, line in list(self._queued.items()):
            if level < begun.job.spec.level:
                continue
            ahead = takewhile(lambda one: one.number < begun.number, line.all())
            for tracked in [one for one in ahead if one not in waiting]:
                tracked.is_queued, tracked.idle_at = False, self.queued_at
                self.refile(tracked)

    def _hold(self, waiting: Sequence[Tracked], at: float) -> None:
        """Move the jobs that must wait because one of these does."""
        if not waiting:
            return
        firsts: dict[int, int] = {}
        for one in waiting:
            firsts[one.job.spec.level] = min(firsts.get(one.job.spec.level, one.number), one.number)
        for tracked in [one for line in self._unseen() for one in line.all() if not one.is_running]:
            if any(
                tracked.number > first and tracked.job.spec.level <= level
                for level, first in firsts.items()
            ):
                tracked.is_queued, tracked.idle_at = True, at
                self.refile(tracked)


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
        self._at(tracked).add(tracked)

    def hint(self, tracked: Tracked, now: float) -> None:
        """Note that a callback said just now that a job has ended."""
        tracked.hinted_at = now
        place = self._at(tracked)
        place.open_at = max(place.open_at, now)
        place.refile(tracked)

    def refile(self, tracked: Tracked) -> None:
        """Move a job to its line after it was queried; a removed one stays away."""
        place = self._at(tracked)
        if tracked.looked_at > place.open_at and tracked.number in place.all:
            place.open_at = tracked.looked_at
        if tracked.began_at is not None:
            place.newest_at = max(place.newest_at, tracked.began_at)
        place.refile(tracked)

    def saw(self, answer: Answer, at: float) -> None:
        """Conclude from an answer about jobs of one bucket; see :class:`TrackedAtPlace`."""
        asked = next(chain(answer.waiting, answer.running, answer.ended, answer.unclear), None)
        if asked is not None:
            self._at(asked).saw(answer, at)

    def remove(self, tracked: Tracked) -> None:
        """Remove a job."""
        if tracked.line is not None:
            tracked.line.remove(tracked)
            self._at(tracked).all.pop(tracked.number)

    def _at(self, tracked: Tracked) -> TrackedAtPlace:
        where = tracked.job.spec.media.place
        place = self._places.get(where)
        if place is None:
            place = self._places[where] = TrackedAtPlace()
        return place

    def places(self) -> list[TrackedAtPlace]:
        """Return the buckets with a free job, ordered by the first free job of each."""
        first = [
            (found.number, place)
            for place in self._places.values()
            if (found := place.first()) is not None
        ]
        return [place for _, place in sorted(first, key=lambda pair: pair[0])]
