"""Decide which jobs to ask about, and when: few queries, and the end of a run on time.

A query carries up to ten ids and costs one call. There are two reasons for one:

* *It brings enough.* The chances that its jobs have ended add up to what the budget of calls asks
  of a query. How long jobs run is learned from those that have ended.
* *All may have ended.* The run must not end long after the bucket's last job. :mod:`end_of_run`
  says when the next query is due for that. An answer that shows one job that has not ended puts it
  off.

Pure; ``now`` is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING

from orchestrator.runner.settings import SOON_S
from orchestrator.runner.tracking.end_of_run import FEW_JOBS, EndOfRun
from orchestrator.runner.tracking.run_times import RunTimes, length_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.spec import Place
    from orchestrator.runner.tracking.tracked_jobs import (
        Line,
        Tracked,
        TrackedAtPlace,
        TrackedJobs,
    )

POLL_MIN_S = 1.0
"""Shortest time between two queries about one job."""
QUERY_SIZE = 10
"""Ids of one query: the vendor's limit."""
_SHARE = 0.5
"""Queries per job that a run may make ..."""
_CALLBACK_SHARE = 0.2
"""... and with callbacks."""
_COLLECTING = 0.45
"""Part of the queries that are still affordable that goes to collecting what has ended. The others
are for finding out how long jobs run, and when the last one ends."""
_WORTH = 3.5, 8.0
"""Least and most ended jobs that a query must probably bring to be worth its call."""
_FIRST_S = 1.0
"""Without callbacks, few jobs are queried for the first time after this: an input that the service
cannot use has often failed by then."""
_GATHER_S = 1.0
"""Time that a hint waits for others ..."""
_HINT_S = 15.0
"""... and the same while other jobs run, if calls are left."""
_HINTS_KEEP = 0.05
"""Queries per job that such looks leave for the end of the run."""
_ANSWER_S = 3.0
"""Wait for an answer before another query asks if all have ended."""
_SPREAD = 4
"""Ids of such a query that are spread over the jobs of which nothing is known."""

_IN_TURN = 3
"""Ids of such a query that go to jobs that should wait, in turn."""


@dataclass(frozen=True, slots=True)
class Round:
    """Jobs of one bucket to query now; if there are none, decide again in ``again_in_s``."""

    batch: tuple[Tracked, ...] = ()
    again_in_s: float | None = None


@dataclass(slots=True)
class _Calls:
    """Queries about one bucket."""

    made: int = 0
    on_wire: int = 0
    asked_at: float = -math.inf


class PollPolicy:
    """Learns how long jobs run, and decides.

    Args:
        has_callbacks: The service reports the end of a job by callback.
        soon_s: Time in which a run should end after its last job, at least.
    """

    def __init__(self, *, has_callbacks: bool = False, soon_s: float = SOON_S) -> None:
        self._share = _CALLBACK_SHARE if has_callbacks else _SHARE
        self._has_callbacks = has_callbacks
        self._hinted = 0
        self._unhinted = 0
        self._run_times = RunTimes()
        self._end_of_run = EndOfRun(self._run_times, soon_s)
        self._calls: dict[Place, _Calls] = {}

    # --- what happened

    def learn(self, tracked: Tracked) -> None:
        """Learn from a job that ended."""
        job = tracked.job
        if tracked.hinted_at is None:
            self._unhinted += 1
        else:
            self._hinted += 1
        if job.started_at is None or job.finished_at is None:
            return
        # The service reports whole seconds.
        ran_s = max(job.finished_at - job.started_at, 0.5)
        if not tracked.is_from_before:
            # It cannot have run for longer than it was there, whatever the service says.
            ran_s = min(ran_s, max(tracked.looked_at - tracked.since, 0.0) + 1.0)
        self._run_times.learn(job.spec.media, ran_s)

    def asked(self, batch: Sequence[Tracked], now: float) -> None:
        """Note that a query about these jobs of one bucket goes out."""
        calls = self._calls_of(batch[0].job.spec.media.place)
        calls.made += 1
        calls.on_wire += 1
        calls.asked_at = now

    def answered(self, batch: Sequence[Tracked]) -> None:
        """Note that the query about these jobs has ended, well or not."""
        self._calls_of(batch[0].job.spec.media.place).on_wire -= 1

    def _calls_of(self, place: Place) -> _Calls:
        return self._calls.setdefault(place, _Calls())

    # --- what to do

    def decide(self, jobs: TrackedJobs, now: float) -> Round:
        """Return the jobs to query now, or the time until the next decision.

        Jobs with a query on the wire are left out.
        """
        again_in_s: float | None = None
        for place in jobs.places():
            found = self._decide_at(place, now)
            if found.batch:
                return found
            if found.again_in_s is not None:
                again_in_s = min(again_in_s or math.inf, found.again_in_s)
        return Round(again_in_s=again_in_s)

    def _decide_at(self, place: TrackedAtPlace, now: float) -> Round:
        rated = self._candidates(place, now)
        if not rated:
            return Round(again_in_s=POLL_MIN_S / 4)
        calls = self._calls_of(rated[0][1].job.spec.media.place)
        affordable = self._share * place.accepted - calls.made
        best = tuple(tracked for _, tracked in rated)
        is_worth = sum(chance for chance, _ in rated) >= self._worth(place, affordable)
        if is_worth and not all(tracked.is_queued for tracked in best):
            return Round(best)
        due_at = self._due_at(place, calls, affordable - len(place.all) / QUERY_SIZE)
        if is_worth or now >= due_at:
            return Round(_spread(place, best, now, calls.made))
        run_s = min((self._run_s(tracked) or math.inf for _, tracked in rated))
        step_s = max(min(run_s / 20, 5.0), POLL_MIN_S / 4)
        return Round(again_in_s=max(min(step_s, due_at - now), 0.001))

    def _worth(self, place: TrackedAtPlace, affordable: float) -> float:
        """Return how many jobs must probably have ended to make a query worth its call."""
        least, most = _WORTH
        count = len(place.all)
        worth = count / (_COLLECTING * affordable) if affordable > 0 else most
        # The last jobs are collected when all may have ended, unless calls are left.
        is_ample = affordable > 1 + count / QUERY_SIZE
        return min(max(worth, least), most, 0.8 * count if is_ample else most)

    # --- it brings enough

    def _candidates(self, place: TrackedAtPlace, now: float) -> list[tuple[float, Tracked]]:
        """Return the ten jobs that have most probably ended, with their chances."""
        soonest = now - POLL_MIN_S
        ended = (one for one in place.ended.free() if one.looked_at <= soonest)
        asked = list(islice(ended, QUERY_SIZE))
        for line in place.begun():
            asked += _longest_unseen(line, soonest)
        asked.sort(key=attrgetter("number"))
        rated = [(self._chance(one, now), one) for one in asked]
        first_s, pace_s = self._pace_s(place)
        for position, one in enumerate(islice(place.queued(), QUERY_SIZE)):
            if not one.is_asked and one.looked_at <= soonest:
                begun_at = place.queued_at + first_s + position * pace_s
                rated.append((self._chance_since(one, begun_at, now), one))
        rated.sort(key=lambda pair: -pair[0])  # stable: of equal chances the older job first
        return rated[:QUERY_SIZE]

    def _pace_s(self, place: TrackedAtPlace) -> tuple[float, float]:
        """Return how long it takes until a waiting job begins, and from one to the next."""
        run_s = self._run_times.of(None)
        if run_s is None:
            return math.inf, math.inf
        ends_per_s = sum(
            len(line) / max(run_s, _as_long(next(iter(line.all())))) for line in place.begun()
        )
        pace_s = run_s / place.width
        return 1 / ends_per_s if ends_per_s else pace_s, pace_s

    def _chance(self, tracked: Tracked, now: float) -> float:
        """Return the chance that the job has ended since it was last known not to have."""
        if tracked.hinted_at is not None:
            return 1.0 if now - tracked.hinted_at >= _GATHER_S else 0.0
        if tracked.looked_at == -math.inf:
            return 1.0
        return self._chance_since(tracked, tracked.open_at, now)

    def _chance_since(self, tracked: Tracked, since: float, now: float) -> float:
        """Return the chance that the job has ended; run times are taken as exponential."""
        run_s = self._run_s(tracked)
        if run_s is None or now <= since:
            return 0.0
        chance = 1.0 - math.exp(-(now - since) / run_s)
        if self._has_callbacks:
            # No callback came. The share that was lost until now is lost again.
            chance *= (self._unhinted + 1) / (self._hinted + self._unhinted + 1)
        return chance

    def _run_s(self, tracked: Tracked) -> float | None:
        """Return for how long a job will probably run: if it has run for long, for long."""
        run_s = self._run_times.of(length_of(tracked.job.spec.media))
        return None if run_s is None else max(run_s, _as_long(tracked))

    # --- all may have ended

    def _due_at(self, place: TrackedAtPlace, calls: _Calls, spare: float) -> float:
        """Return when the bucket must be queried, because all of its jobs may have ended."""
        is_few = place.accepted < FEW_JOBS
        due_at = math.inf
        if len(place.ended):
            keep = _HINTS_KEEP * place.accepted
            due_at = _hints_due_at(place, is_ample=is_few or spare > keep)
        if len(place.ended) < len(place.all):
            due_at = min(due_at, self._end_of_run.due_at(place, calls.asked_at, spare))
        if is_few and not calls.made and not self._has_callbacks:
            due_at = min(due_at, place.since + _FIRST_S)
        if calls.on_wire:
            due_at = max(due_at, calls.asked_at + _ANSWER_S)
        return due_at


def _as_long(tracked: Tracked) -> float:
    """Return about half of the time that a job was seen running."""
    return float(1 << tracked.ran_power >> 1)


def _hints_due_at(place: TrackedAtPlace, *, is_ample: bool) -> float:
    """Return when the jobs that may have ended must be queried, even if they are few."""
    ended = list(islice(place.ended.all(), QUERY_SIZE))
    unknown = [one.since for one in ended if one.hinted_at is None]
    if unknown:
        return min(unknown)
    oldest = min(one.hinted_at or 0.0 for one in ended)
    if len(place.ended) == len(place.all):
        return oldest + _GATHER_S
    return oldest + _HINT_S if is_ample else math.inf


def _spread(
    place: TrackedAtPlace, best: tuple[Tracked, ...], now: float, turn: int
) -> tuple[Tracked, ...]:
    """Return the best candidates, and some of the jobs of which nothing is known.

    A few of those that should wait are among them, others each time: the service may have an order
    of its own.
    """
    if len(place.all) <= QUERY_SIZE:
        return best
    picked = place.spread(_SPREAD)
    if count := place.queued_count:
        positions = {(turn * _IN_TURN + number) % count for number in range(_IN_TURN)}
        if place.is_stale:
            positions.add(count - 1)
        picked += [next(islice(place.queued(), position, None)) for position in sorted(positions)]
    soonest = now - POLL_MIN_S
    picked = [one for one in picked if not one.is_asked and one.looked_at <= soonest]
    others = [one for one in best if one not in picked]
    return (*others[: QUERY_SIZE - len(picked)], *picked)


def _longest_unseen(line: Line, soonest: float) -> list[Tracked]:
    """Return the jobs of a line that were not heard of for longest, and not since ``soonest``.

    As many as fit a query, and those that tie with the last.
    """
    found: list[Tracked] = []
    for tracked in line.free():
        is_full = len(found) >= QUERY_SIZE and tracked.open_at > found[-1].open_at
        if tracked.open_at > soonest or is_full:
            break
        found.append(tracked)
    return found
