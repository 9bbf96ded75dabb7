"""Say when a bucket must be queried because the last of its jobs may have ended.

A run should end within 5 s of its last job (1 s where queries cost nothing), or within 15 % of that
job's time at the service, whichever is more. Only an answer shows that a job has ended. But some
things are known without one:

* While a job is known to be open, the end has not come.
* Jobs that wait at the service must still run, and those that run must run for their time. How long
  that is, ended jobs have shown.

With fewer than ten jobs nothing but the first is relied on, because a service may finish what waits
at any time, unless it says that its queue is paused. From ten jobs on the queries are counted, and
three rules save them. Run times are believed. While some run, some wait and none has ended, the
service is queried again when it has worked for twice as long. While all wait, it is queried
whenever they have waited for 2 % longer.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from orchestrator.runner.settings import SOON_S
from orchestrator.runner.tracking.run_times import length_of

if TYPE_CHECKING:
    from orchestrator.runner.tracking.run_times import RunTimes
    from orchestrator.runner.tracking.tracked_jobs import Tracked, TrackedAtPlace

FEW_JOBS = 10
"""With fewer jobs than this the end of the run comes first, whatever it costs in calls."""
_SOON = 0.15
"""A run should end within this part of its last job's time at the service, but it need not end
sooner than ``soon_s`` after it ..."""
_TRIPS_S = 0.6
"""... of which the query itself and the look for the stems take this ..."""
_TRIP_S, _MOST_TRIPS_S = 0.005, 2.0
"""... and the other queries this for each job that is open, and not more than that ..."""
_TRIPS = 0.6
"""... nor than this part of ``soon_s``."""
_HELD = 0.02
"""While all jobs wait, they are queried when they have waited for this part longer; of few, only
while their queue is paused."""
_REACH = 15.0
"""No estimate puts off the next query for longer than this part of the bucket's time until now,
divided by the queries that are left ..."""
_LEAST_REACH, _MOST_REACH = 0.15, 1.0
"""... within these bounds ..."""
_LEARNED = 2.0
"""... of which the upper one is stretched by this factor once run times are known."""
_ONE_BY_ONE = 20
"""Number of jobs that are considered one by one; of more, the latest start counts."""
_SAMPLE = 200
"""Waiting jobs whose lengths are counted; the others are taken to be like them."""


class EndOfRun:
    """Knows how long jobs run at least, and concludes when all may have ended.

    Args:
        run_times: Run times of ended jobs.
        soon_s: Time in which a run should end after its last job, at least.
    """

    def __init__(self, run_times: RunTimes, soon_s: float = SOON_S) -> None:
        self._run_times = run_times
        self._soon_s = soon_s

    def due_at(self, place: TrackedAtPlace, asked_at: float, spare: float) -> float:
        """Return when a bucket must be queried.

        Args:
            place: Its jobs; at least one of them is not believed to have ended.
            asked_at: When it was last queried; minus infinity for never.
            spare: Queries that can be made beside those that collect what has ended.
        """
        if place.is_blind:
            return place.since
        is_few = place.accepted < FEW_JOBS
        ended_at, age_s = self._earliest(place, is_few=is_few, is_ample=spare > 0)
        slack_s = max(self._soon_s, _SOON * age_s)
        trips_s = _TRIPS_S + min(len(place.all) * _TRIP_S, _MOST_TRIPS_S)
        trips_s = min(trips_s, _TRIPS * self._soon_s)
        oldest = next(iter(place.all.values()))
        held_s = _HELD * (place.queued_at - oldest.since)
        if is_few:
            if place.is_paused and not place.begun_count:
                slack_s = max(slack_s, held_s)
            return ended_at + slack_s - trips_s
        last_at = max(asked_at, place.since)
        is_learned = self._run_times.of(None) is not None
        most = _MOST_REACH * (_LEARNED if is_learned else 1.0)
        reach_s = (last_at - place.since) * min(max(_REACH / max(spare, 1.0), _LEAST_REACH), most)
        if place.queued_count and not place.begun_count:
            slack_s = max(slack_s, held_s)
        elif place.queued_count and not is_learned:
            slack_s = max(slack_s, reach_s)
        return min(ended_at + slack_s, last_at + max(self._soon_s, reach_s)) - trips_s

    def _earliest(
        self, place: TrackedAtPlace, *, is_few: bool, is_ample: bool
    ) -> tuple[float, float]:
        """Return when all may have ended at the earliest, and the time of the last job by then.

        If several may be the last, the youngest counts; without queries to spare, the oldest.
        """
        begun = _begun(place)
        starts = [one.start_at for one in begun] or [place.newest_at]
        ends = [place.open_at]
        if not is_few:
            ends += [one.start_at + self._least_s(one) for one in begun]
            if place.begun_count > len(begun):
                least_s = min(self._run_times.least(one)[0] for one in place.begun_lengths())
                ends.append(place.newest_at + least_s)
        ended_at = max(ends)
        age_s = ended_at - max(starts)
        if place.queued_count:
            busy_s, age_s = (0.0, 0.0)
            if not is_few and not place.is_stale:
                busy_s, age_s = self._queue(place, begun)
            ended_at = max(ended_at, place.queued_at + busy_s)
        if not is_few and not is_ample:
            seen_at = max((one.looked_at for one in begun if one.is_running), default=-math.inf)
            ages = [seen_at - one.start_at for one in begun if one.looked_at == seen_at]
            age_s = max([age_s, *ages])
        return ended_at, age_s

    def _least_s(self, tracked: Tracked) -> float:
        return self._run_times.least(length_of(tracked.job.spec.media))[0]

    def _queue(self, place: TrackedAtPlace, begun: list[Tracked]) -> tuple[float, float]:
        """Return how long the waiting jobs keep the service busy, and the shortest of them."""
        # While some wait, others run. Those of them that no answer has shown are counted as
        # waiting.
        unseen = max(place.width - place.begun_count, 0)
        count = max(place.queued_count - unseen, 0)
        sample = Counter(length_of(one.job.spec.media) for one in islice(place.queued(), _SAMPLE))
        scale = count / sample.total()
        least_s, short_s, shortest_s, margin_s = 0.0, 0.0, math.inf, 0.0
        for length, number in sample.items():
            least, short = self._run_times.least(length)
            least_s += number * scale * least
            short_s += number * scale * short
            shortest_s = min(shortest_s, least)
            margin_s = max(margin_s, short - least)
        # One may be as short as any, but not all of them.
        work_s = max(short_s - margin_s, least_s)
        for one in begun:
            work_s += max(one.start_at + self._least_s(one) - place.queued_at, 0.0)
        return max(work_s / place.width, shortest_s), shortest_s


def _begun(place: TrackedAtPlace) -> list[Tracked]:
    """Return the jobs that may have begun, if they are few."""
    if place.begun_count > _ONE_BY_ONE:
        return []
    return [one for line in place.begun() for one in line.all()]
