"""Order of ready jobs: level, then ageing, then fair shares, then the manifest's order. Pure.

The queue consists of lanes, one for each level and share. A *level* is chosen first: the highest,
unless a lower one was passed over until it has aged into its place, so that nothing starves.
Inside a level the *share* that was served least goes next, so that a huge source does not shut out
a small one. Inside a lane the order of the manifest holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.job import Job


class LaneKey(NamedTuple):
    """A lane: JobLevel and share."""

    level: int
    share: str


def lane_of(job: Job) -> LaneKey:
    """Return the lane that a job waits in."""
    return LaneKey(job.spec.level, job.spec.share)


@dataclass(slots=True)
class _Lane:
    served: int = 0
    heap: list[tuple[int, int, Job]] = field(default_factory=list)


@dataclass(slots=True)
class _Level:
    lanes: dict[str, _Lane] = field(default_factory=dict)
    # Heap of (times served, share) of the lanes that hold jobs.
    order: list[tuple[int, str]] = field(default_factory=list)
    turn: int = 0  # times that the lane served last had been served before
    passed: int = 0  # pops that went to a higher level while this one waited


class ReadyQueue:
    """Jobs that may go now, best first.

    Args:
        age_after: Pops of higher levels that lift a waiting level by one.
    """

    def __init__(self, age_after: int) -> None:
        self._age_after = age_after
        self._levels: dict[int, _Level] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def push(self, job: Job) -> None:
        """Add a job."""
        number, share = job.spec.level, job.spec.share
        level = self._levels.get(number)
        if level is None:
            level = self._levels[number] = _Level()
        lane = level.lanes.get(share)
        if lane is None:
            lane = level.lanes[share] = _Lane()
        if not lane.heap:
            # A lane that fills again starts level with the others: it must not make up for the
            # time that it was empty, nor pay for its turns while it was alone.
            lane.served = max(lane.served, level.turn)
            heappush(level.order, (lane.served, share))
        heappush(lane.heap, (job.seq, job.id, job))
        self._size += 1

    def pop(self) -> Job:
        """Take the best job.

        Raises:
            IndexError: If the queue is empty.
        """
        number = self._best_level()
        level = self._levels[number]
        served, group = heappop(level.order)
        lane = level.lanes[group]
        job = heappop(lane.heap)[2]
        lane.served = served + 1
        level.turn = served
        if lane.heap:
            heappush(level.order, (lane.served, group))
        self._note_passed(number)
        self._size -= 1
        return job

    def size_of(self, key: LaneKey) -> int:
        """Return how many jobs wait in one lane."""
        level = self._levels.get(key.level)
        lane = level.lanes.get(key.share) if level else None
        return len(lane.heap) if lane else 0

    def jobs(self) -> Iterator[Job]:
        """Iterate over all jobs that wait, in no order."""
        for level in self._levels.values():
            for lane in level.lanes.values():
                for _, _, job in lane.heap:
                    yield job

    def _best_level(self) -> int:
        waiting = [
            (number + level.passed // self._age_after, number)
            for number, level in self._levels.items()
            if level.order
        ]
        if not waiting:
            raise IndexError("the ready queue is empty")
        return max(waiting)[1]

    def _note_passed(self, served: int) -> None:
        for number, level in self._levels.items():
            if number == served or not level.order:
                level.passed = 0
            elif number < served:
                level.passed += 1
