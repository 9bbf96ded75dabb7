"""Jobs that wait to be sent: a window of each lane (level and share) in memory, the rest in the ledger.

What does not fit is fetched when its lane runs low. So memory does not grow with the plan, and a job of a higher level that is found late
still overtakes everything that waits.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from orchestrator.runner.submitting.ready_queue import LaneKey, ReadyQueue, lane_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.domain.job import Job
    from orchestrator.domain.run import Run
    from orchestrator.runner.ports import Parts

_LANES_IN_FULL = (
    10  # so many full windows are kept in memory; with more lanes than that each keeps less ...
)
_LEAST_PER_LANE = (
    8  # ... but never less than this: the shares are fair only among jobs that are at hand
)
_ANY_TIME_S = 10 * 366 * 86400.0  # beyond any instant that a job waits for


class Backlog:
    """The ready queue, what waits for its time, and what is left in the ledger.

    Args:
        parts: The ports.
        run: The present run.
    """

    def __init__(self, parts: Parts, run: Run) -> None:
        self._ledger = parts.ledger
        self._run = run
        self._clock = parts.clock
        self._window = parts.settings.window
        self._cap_s = parts.settings.cap_s
        self._queue = ReadyQueue(parts.settings.age_after)
        self._delayed: list[
            tuple[float, int, Job]
        ] = []  # by the monotonic instant at which they are due
        self._held: set[int] = set()  # ids of every job that is in memory, wherever
        self._waiting: set[int] = set()  # ids of those that wait here
        self._is_expecting = False
        self._left: set[int] = (
            set()
        )  # ids of jobs that were in memory and left it since expect() was called
        self._spilled: dict[
            LaneKey, None
        ] = {}  # lanes with jobs that are in the ledger only; a set that keeps its order
        self._later: dict[
            LaneKey, float
        ] = {}  # lanes whose next job in the ledger is due at a monotonic instant
        self._is_fetching = False

    # --- what there is

    def __len__(self) -> int:
        """Jobs that may go now."""
        return len(self._queue)

    @property
    def in_memory(self) -> int:
        """Jobs that wait here, for their turn or their time."""
        return len(self._queue) + len(self._delayed)

    @property
    def is_empty(self) -> bool:
        """Nothing waits, here or in the ledger."""
        return not (self.in_memory or self._spilled or self._later or self._is_fetching)

    @property
    def is_well_stocked(self) -> bool:
        """There is enough at hand; more would only go to the ledger, and be fetched from there."""
        return len(self._queue) > self._window // 2 or bool(self._spilled)

    def next_due_in_s(self) -> float | None:
        """When the next of those that wait for their time is due, if there is one."""
        due = [*self._later.values(), *([self._delayed[0][0]] if self._delayed else [])]
        return min(due) - self._clock.monotonic() if due else None

    # --- in and out

    def expect(self) -> None:
        """Jobs will be read from the ledger, and brought by :meth:`add` or :meth:`hold`: what happens to them meanwhile counts."""
        self._left.clear()
        self._is_expecting = True

    def has_arrived(self) -> None:
        """What was expected has been brought: nothing need be remembered any more."""
        self._left.clear()
        self._is_expecting = False

    def add(self, jobs: Iterable[Job]) -> None:
        """Take planned jobs; those that it has, or had since :meth:`expect`, are passed over."""
        held, left = self._held, self._left
        for job in jobs:
            if job.id not in held and job.id not in left:
                self._place(job)

    def hold(self, job: Job) -> bool:
        """Count a job as in memory, although it does not wait; false if it is counted, or was since :meth:`expect`."""
        if job.id in self._held or job.id in self._left:
            return False
        self._held.add(job.id)
        return True

    def give_back(self, job: Job) -> None:
        """A job that went out waits again."""
        self.let_go(job)
        self._place(job)

    def forget(self, job: Job) -> None:
        """A job that went out may be brought anew."""
        self._held.discard(job.id)

    def let_go(self, job: Job) -> None:
        """A job that went out is done with."""
        self._held.discard(job.id)
        if self._is_expecting:
            self._left.add(job.id)

    def pop(self) -> Job:
        """Take out the best job; it stays counted. ``IndexError`` if none may go now."""
        job = self._queue.pop()
        self._waiting.discard(job.id)
        return job

    def put_back(self, job: Job) -> None:
        """The job that was taken out is not wanted now."""
        self._push(job)

    def has_run_dry(self, job: Job) -> bool:
        """The next jobs of this one's lane must be fetched first: without them those of a lower level would go on."""
        return (
            bool(self._spilled)
            and (lane := lane_of(job)) in self._spilled
            and not self._queue.size_of(lane)
        )

    # --- between memory and ledger

    async def refill(self) -> None:
        """Bring up what has come due, and fetch more of the lanes that ran low: half of what they may hold is used up."""
        self._release_due()
        for lane in [
            lane
            for lane in self._spilled
            if self._room_in(lane) >= max(self._queue.size_of(lane), 1)
        ]:
            self._spilled.pop(
                lane, None
            )  # before the await: what is added meanwhile may spill again
            self._is_fetching = True
            await self._fetch(lane, self._room_in(lane))
            self._is_fetching = False

    async def _fetch(self, lane: LaneKey, room: int) -> None:
        # Not all that are held need be left out: those that were sent are planned no more, or are on their way back here.
        ready = await self._ledger.ready(
            self._run, lane.level, lane.share, room, self._waiting, self._clock.now()
        )
        for job in ready:
            if job.id not in self._held:
                self._push(job)
        if len(ready) >= room:
            self._spilled[lane] = None
        elif await self._ledger.next_ready_at(self._run, self._waiting) is not None:
            await self._fetch_waiting(lane)

    async def _fetch_waiting(self, lane: LaneKey) -> None:
        """What is left of a lane in the ledger is not due yet: take it into memory, as far as there is room for what waits."""
        room = (
            max(self._window * 4 - len(self._delayed), 0) + 1
        )  # one more, to know whether there are more
        any_time = self._clock.now() + _ANY_TIME_S
        for job in await self._ledger.ready(
            self._run, lane.level, lane.share, room, self._waiting, any_time
        ):
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
        lane = lane_of(job)
        wait_s = job.not_before - self._clock.now() if job.not_before else 0.0
        if wait_s > self._cap_s:
            # No backoff is longer than the cap: it was told by a clock that was set back since. Who comes from the ledger, because the
            # memory for those that wait was full, must not wait as long each time that he comes.
            wait_s = 0.0 if has_waited else self._cap_s
        if wait_s > 0:
            self._delay(job, lane, self._clock.monotonic() + wait_s)
        elif lane in self._spilled or not self._room_in(lane):
            # What waits in the ledger comes first by seq: once a lane has spilled, it is fed from the ledger only.
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
        """How many more jobs of a lane are kept in memory."""
        size = self._queue.size_of(lane)
        free = self._window * _LANES_IN_FULL - len(self._queue)
        return max(min(self._window - size, max(free, _LEAST_PER_LANE - size)), 0)
