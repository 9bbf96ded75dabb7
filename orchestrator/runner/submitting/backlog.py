"""Jobs that wait to be sent: part of each lane (level and share) in memory, the rest in the ledger.

What does not fit is fetched when its lane runs low. So memory does not grow with the plan, and a
job of a higher level that is found late still overtakes everything that waits.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from orchestrator.runner.submitting.ready_queue import LaneKey, ReadyQueue, lane_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Run
    from orchestrator.domain.spec import Place
    from orchestrator.runner.ports import Ports

_LANES_IN_FULL = 10
"""Lanes kept in memory up to the full window; with more lanes each keeps less ..."""
_LEAST_PER_LANE = 8
"""... but never less than this: shares are fair only among jobs in memory."""
_ANY_TIME_S = 10 * 366 * 86400.0
"""Beyond any instant that a job waits for."""


class Backlog:
    """The ready queue, what waits for its time, and what is left in the ledger.

    Args:
        ports: The ports.
        run: The present run.
    """

    def __init__(self, ports: Ports, run: Run) -> None:
        self._ledger = ports.ledger
        self._run = run
        self._clock = ports.clock
        self._window = ports.settings.window
        self._cap_s = ports.settings.cap_s
        self._queue = ReadyQueue(ports.settings.age_after)
        self._delayed: list[tuple[float, int, Job]] = []  # by the monotonic instant of their turn
        self._held: set[int] = set()  # ids of every job in memory, wherever it is
        self._waiting: set[int] = set()  # ids of those that wait here
        self._is_expecting = False
        self._left: set[int] = set()  # ids of jobs that left memory since expect() was called
        # Lanes with jobs that are in the ledger only; a set that keeps its order.
        self._spilled: dict[LaneKey, None] = {}
        # Lanes whose next job in the ledger is due at a monotonic instant.
        self._later: dict[LaneKey, float] = {}
        self._is_fetching = False
        self.unfetched = asyncio.Lock()
        """Held while jobs are in the ledger that must not be sent yet."""
        self._closed: set[Place] = set()  # buckets that the service refuses

    # --- what there is

    def __len__(self) -> int:
        """Return how many jobs may go now."""
        return len(self._queue)

    @property
    def in_memory(self) -> int:
        """Number of jobs that wait in memory, for their turn or their time."""
        return len(self._queue) + len(self._delayed)

    @property
    def is_empty(self) -> bool:
        """True if nothing waits, in memory or in the ledger."""
        return not (self.in_memory or self._spilled or self._later or self._is_fetching)

    @property
    def is_well_stocked(self) -> bool:
        """True if more jobs would only go to the ledger, to be fetched from there."""
        return len(self._queue) > self._window // 2 or bool(self._spilled)

    def next_due_in_s(self) -> float | None:
        """Return the time until the next delayed job is due, or None if there is none."""
        due = [*self._later.values(), *([self._delayed[0][0]] if self._delayed else [])]
        return min(due) - self._clock.monotonic() if due else None

    # --- in and out

    def expect(self) -> None:
        """Expect jobs that are being read from the ledger; :meth:`add` or :meth:`hold` brings them.

        What happens to them until then counts.
        """
        self._left.clear()
        self._is_expecting = True

    def has_arrived(self) -> None:
        """Note that the expected jobs were brought."""
        self._left.clear()
        self._is_expecting = False

    def add(self, jobs: Iterable[Job]) -> None:
        """Take planned jobs; skip those held now, or held since :meth:`expect`."""
        held, left = self._held, self._left  # "knows", written out: this is the busiest loop
        for job in jobs:
            if job.id not in held and job.id not in left:
                self._place(job)

    def close_bucket(self, place: Place) -> None:
        """Forget the jobs of a bucket: they stay planned in the ledger."""
        self._closed.add(place)

    def hold(self, job: Job) -> bool:
        """Count a job as in memory although it does not wait.

        Returns:
            False if it is counted, or was since :meth:`expect`.
        """
        if self.knows(job):
            return False
        self._held.add(job.id)
        return True

    def knows(self, job: Job) -> bool:
        """Return True if a job is held, or was since :meth:`expect`."""
        return job.id in self._held or job.id in self._left

    def keep(self, job: Job) -> None:
        """Count a job as waiting although it waits elsewhere."""
        self._held.add(job.id)
        self._waiting.add(job.id)

    def let_go(self, job: Job) -> None:
        """Note that a kept job is being sent."""
        self._waiting.discard(job.id)

    def place(self, job: Job) -> None:
        """Take a job that was kept."""
        self._held.discard(job.id)
        self._waiting.discard(job.id)
        self._place(job)

    def give_back(self, job: Job) -> None:
        """Take back a job that was sent and is planned again."""
        self.finish(job)
        self._place(job)

    def forget(self, job: Job) -> None:
        """Forget a job that was sent; it may be added again."""
        self._held.discard(job.id)

    def finish(self, job: Job) -> None:
        """Forget a job that was sent and has ended."""
        self._held.discard(job.id)
        if self._is_expecting:
            self._left.add(job.id)

    def pop(self) -> Job:
        """Take out the best job; it stays counted. Raises ``IndexError`` if none may go now."""
        job = self._queue.pop()
        self._waiting.discard(job.id)
        return job

    def is_closed(self, job: Job) -> bool:
        """Return True if the bucket of a job was closed after the job was queued."""
        return bool(self._closed) and job.spec.media.place in self._closed

    def put_back(self, job: Job) -> None:
        """Put back a job that was taken out and is not wanted now."""
        self._push(job)

    def has_run_dry(self, job: Job) -> bool:
        """Return True if the next jobs of this one's lane must be fetched first.

        Without them jobs of a lower level would go.
        """
        if not self._spilled:
            return False
        lane = lane_of(job)
        return lane in self._spilled and not self._queue.size_of(lane)

    # --- between memory and ledger

    async def refill(self) -> None:
        """Queue what has come due, and refill lanes of which half was used up."""
        self._release_due()
        if not self._spilled:
            return
        async with self.unfetched:
            await self._fetch_low_lanes()

    async def _fetch_low_lanes(self) -> None:
        size_of, room_in = self._queue.size_of, self._room_in
        low = [lane for lane in self._spilled if room_in(lane) >= max(size_of(lane), 1)]
        for lane in low:
            self._spilled.pop(lane, None)  # before the await: what is added then may spill again
            self._is_fetching = True
            await self._fetch(lane, self._room_in(lane))
            self._is_fetching = False

    async def _fetch(self, lane: LaneKey, room: int) -> None:
        # Not all held jobs need be left out: those that were sent are no longer planned, or are on
        # their way back.
        now = self._clock.now()
        ready = await self._ledger.ready(
            self._run, lane.level, lane.share, room, self._waiting, now, self._closed
        )
        for job in ready:
            if job.id not in self._held:
                self._push(job)
        if len(ready) >= room:
            self._spilled[lane] = None
        elif await self._ledger.next_ready_at(self._run, self._waiting, self._closed) is not None:
            await self._fetch_waiting(lane)

    async def _fetch_waiting(self, lane: LaneKey) -> None:
        """Take into memory what is left of a lane and not due yet, as far as it fits."""
        # One more than there is room for, to know if there are more.
        room = max(self._window * 4 - len(self._delayed), 0) + 1
        any_time = self._clock.now() + _ANY_TIME_S
        jobs = await self._ledger.ready(
            self._run, lane.level, lane.share, room, self._waiting, any_time, self._closed
        )
        for job in jobs:
            if job.id not in self._held:
                self._place(job, has_waited=True)

    def _release_due(self) -> None:
        now = self._clock.monotonic()
        while self._delayed and self._delayed[0][0] <= now:
            job = heappop(self._delayed)[2]
            # It was counted against memory already: it goes straight to the queue.
            self._queue.push(job)
        for lane in [lane for lane, due in self._later.items() if due <= now]:
            del self._later[lane]
            self._spilled[lane] = None

    def _place(self, job: Job, *, has_waited: bool = False) -> None:
        if self.is_closed(job):
            return
        lane = lane_of(job)
        wait_s = job.not_before - self._clock.now() if job.not_before else 0.0
        if wait_s > self._cap_s:
            # A wait beyond the cap means that the clock was set back. A job that comes from the
            # ledger, because memory for delayed jobs was full, must not wait that long each time.
            wait_s = 0.0 if has_waited else self._cap_s
        if wait_s > 0:
            self._delay(job, lane, self._clock.monotonic() + wait_s)
        elif lane in self._spilled or not self._room_in(lane):
            # Jobs in the ledger come first by seq: once a lane has spilled, it is fed from there.
            self._spilled[lane] = None
        else:
            self._push(job)

    def _push(self, job: Job) -> None:
        self._held.add(job.id)
        self._waiting.add(job.id)
        self._queue.push(job)

    def _delay(self, job: Job, lane: LaneKey, due: float) -> None:
        if len(self._delayed) < self._window * 4:
            self._held.add(job.id)
            self._waiting.add(job.id)
            heappush(self._delayed, (due, job.id, job))
        else:
            self._later[lane] = min(self._later.get(lane, due), due)

    def _room_in(self, lane: LaneKey) -> int:
        """Return how many more jobs of a lane are kept in memory."""
        size = self._queue.size_of(lane)
        free = self._window * _LANES_IN_FULL - len(self._queue)
        return max(min(self._window - size, max(free, _LEAST_PER_LANE - size)), 0)
