"""Decide which jobs to ask about, and when: few queries, each about jobs that have probably ended.

A query carries up to ten ids and costs one call, however many of them have ended. So it is worth
its price when some have. The chance that a job has ended since it was last queried follows from
how long such jobs run: the service reports ``StartTime`` and ``EndTime`` with every job that ends.
Media of about the same length are compared, where lengths are known. A job that was seen running
for long will probably run for as long again, whatever was expected.

A query goes out when the chances of its ten best candidates add up to ``_QUERY_WORTH`` ended jobs,
or when nothing was asked of their bucket for as long as a job takes; later while the service has a
queue. Of the jobs not known to run, only the first few in the service's own order (level, then age)
can have begun. Asking about those behind them would show nothing.

Pure; ``now`` is an argument.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING

from orchestrator.runner.tracking.run_times import RunTimes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import Place
    from orchestrator.runner.tracking.tracked_jobs import (
        Line,
        Tracked,
        TrackedAtPlace,
        TrackedJobs,
    )

POLL_MIN_S = 1.0
"""Shortest time between two queries about one job."""
POLL_MAX_S = 60.0
"""Longest time between two queries about one job."""
QUERY_SIZE = 10
"""Ids of one query: the vendor's limit."""
_QUERY_WORTH = 3.5
"""Jobs that have probably ended, of the ids of one query, that make it worth its call. A third of
ten means about 0.3 queries per job."""
_QUEUED_WORTH = 5.5
"""The same while as many jobs wait at the service as run there: an ended job delays nothing ..."""
_QUEUED_PATIENCE = 5.0
"""... so a query can wait longer by this factor."""
_CALLBACK_PATIENCE = 10.0
"""With callbacks, a query without a hint can wait longer by this factor ..."""
_CALLBACK_MAX_S = 300.0
"""... but no longer than this, because callbacks get lost."""
_HINTED_WORTH = 6.0
"""The same as ``_QUERY_WORTH`` with callbacks: hints share a query ..."""
_HINT_GATHER_S = 15.0
"""... but no hint waits longer than this."""
_FIRST_GUESS_S = 2.0
"""Run time of a job before any was seen; it grows with the age of the oldest job."""


@dataclass(frozen=True, slots=True)
class Round:
    """Jobs of one bucket to query now; if there are none, decide again in ``again_in_s``."""

    batch: tuple[Tracked, ...] = ()
    again_in_s: float | None = None


class PollPolicy:
    """Learns how long jobs run, and decides.

    Args:
        has_callbacks: The service reports the end of a job by callback.
    """

    def __init__(self, *, has_callbacks: bool = False) -> None:
        self._has_callbacks = has_callbacks
        self._run_times = RunTimes()
        self._has_any_ended = False
        # By bucket: a busy one must not keep the others waiting.
        self._asked_at: dict[Place, float] = {}
        # By bucket: True if the jobs last queried were still waiting for their turn.
        self._queued: dict[Place, bool] = {}
        self._freed_at = -math.inf
        self._freed = 0

    def freed(self, ended_ago_s: Sequence[float], now: float) -> None:
        """Note how long ago the jobs of an answer ended: as many others may have begun then."""
        if ended_ago_s:
            self._freed_at = now - max(ended_ago_s)
        self._freed = len(ended_ago_s)

    def saw_queue(self, place: Place, *, is_waiting: bool) -> None:
        """Note if any of the jobs not known to run that were queried still waits for its turn."""
        self._queued[place] = is_waiting

    def learn(self, job: Job) -> None:
        """Learn from the run time of a job that ended."""
        self._has_any_ended = True
        if job.started_at is None or job.finished_at is None:
            return
        # The service reports whole seconds.
        ran_s = max(job.finished_at - job.started_at, 0.5)
        self._run_times.learn(job.spec.media, ran_s)

    def asked(self, batch: Sequence[Tracked], now: float) -> None:
        """Note that a query about these jobs of one bucket goes out."""
        self._asked_at[batch[0].job.spec.media.place] = now

    def decide(self, jobs: TrackedJobs, now: float) -> Round:
        """Return the jobs to query now, or the time until the next decision.

        Jobs with a query on the wire are left out.
        """
        again_in_s: float | None = None
        for place in jobs.places():
            guess_s = self._guess_s(place, now)
            batch = self._candidates(place, guess_s, now)
            if self._is_worth(batch, guess_s, now, is_queued=place.is_queued(QUERY_SIZE)):
                return Round(tuple(tracked for _, tracked in batch))
            expected_s = [self._expected_s(tracked, guess_s) for _, tracked in batch]
            shortest_s = min(expected_s, default=guess_s)
            step_s = max(min(shortest_s / 20, 5.0), POLL_MIN_S / 4)
            again_in_s = step_s if again_in_s is None else min(again_in_s, step_s)
        return Round(again_in_s=again_in_s)

    def _guess_s(self, place: TrackedAtPlace, now: float) -> float:
        """Guess the run time before any job has ended: half of the age of the oldest one.

        So the queries about a job of unknown length come at growing distances.
        """
        oldest = place.first()
        return max(_FIRST_GUESS_S, (now - oldest.since) / 2 if oldest is not None else 0.0)

    def _expected_s(self, tracked: Tracked, guess_s: float) -> float:
        """Return for how long a running job will probably run on."""
        learned_s = self._run_times.of(tracked.job.spec.media)
        return max(guess_s if learned_s is None else learned_s, float(1 << tracked.ran_power >> 1))

    def _candidates(
        self, place: TrackedAtPlace, guess_s: float, now: float
    ) -> list[tuple[float, Tracked]]:
        """Return the ten jobs that have most probably ended, with their chances."""
        soonest = now - POLL_MIN_S
        ended = (tracked for tracked in place.ended.free() if tracked.looked_at <= soonest)
        begun = list(islice(ended, QUERY_SIZE))
        for line in place.running():
            begun += _longest_unseen(line, soonest)
        begun.sort(key=attrgetter("number"))
        waiting = islice(place.waiting(), self._may_have_begun(place, guess_s, now))
        asked = [*begun, *(tracked for tracked in waiting if tracked.looked_at <= soonest)]
        rated = [(self._chance(tracked, guess_s, now), tracked) for tracked in asked]
        rated.sort(key=lambda pair: -pair[0])  # stable: of equal chances the older job first
        return rated[:QUERY_SIZE]

    def _may_have_begun(self, place: TrackedAtPlace, guess_s: float, now: float) -> int:
        """Return how many waiting jobs can have begun, up to those of a query.

        As many as others have ended: those of the last answer, and those that probably have since.
        """
        if next(place.waiting(), None) is None:
            return 0
        ended, is_any = 0.0, False
        for tracked in chain(place.ended.free(), *[line.free() for line in place.running()]):
            is_any = True
            ended += self._chance(tracked, guess_s, now)
            if self._freed + math.ceil(ended) >= QUERY_SIZE:  # soon: the best chances come first
                return QUERY_SIZE
        return min(self._freed + math.ceil(ended), QUERY_SIZE) if is_any else QUERY_SIZE

    def _chance(self, tracked: Tracked, guess_s: float, now: float) -> float:
        """Return the chance that the job has ended since it was last queried.

        Run times are taken as exponential.
        """
        if tracked.hinted_at is not None:
            return 1.0
        began_at, scale_s = tracked.looked_at, self._expected_s(tracked, guess_s)
        if not tracked.is_running and began_at != -math.inf:
            # It had not begun when it was queried. The end of another job lets it begin.
            began_at = max(began_at, self._freed_at)
            scale_s *= 2
        if self._has_callbacks:
            scale_s *= _CALLBACK_PATIENCE
        return 1.0 - math.exp(-(now - began_at) / scale_s)

    def _is_worth(
        self, batch: list[tuple[float, Tracked]], guess_s: float, now: float, *, is_queued: bool
    ) -> bool:
        if not batch:
            return False
        best = batch[0][1]
        place = best.job.spec.media.place
        asked_at = self._asked_at.get(place, -math.inf)
        is_guess = not (self._has_any_ended or best.may_have_ended)
        if is_guess and now - asked_at < min(guess_s / 2, POLL_MAX_S):
            return False  # ten of them show as much as all
        is_queued = is_queued and self._queued.get(place, False)
        if sum(chance for chance, _ in batch) >= self._worth(is_queued=is_queued):
            return True
        hints = [tracked.hinted_at for _, tracked in batch if tracked.hinted_at is not None]
        if hints:
            has_only_hints = len(hints) == len(batch) < QUERY_SIZE
            if has_only_hints or now - min(hints) >= _HINT_GATHER_S:
                return True
        longest_s = self._longest_s(best, guess_s, is_queued=is_queued)
        return now - max(asked_at, best.looked_at) >= longest_s

    def _worth(self, *, is_queued: bool) -> float:
        """Return how many jobs must probably have ended to make a query worth its call."""
        if self._has_callbacks:
            return _HINTED_WORTH
        return _QUEUED_WORTH if is_queued else _QUERY_WORTH

    def _longest_s(self, best: Tracked, guess_s: float, *, is_queued: bool) -> float:
        """Return how long a bucket goes without a query, however little an answer may show."""
        run_s = self._expected_s(best, guess_s)
        longest_s = min(max(1.25 * run_s, POLL_MIN_S), max(POLL_MAX_S, run_s / 3))
        if self._has_callbacks:
            return min(longest_s * _CALLBACK_PATIENCE, _CALLBACK_MAX_S)
        return longest_s * _QUEUED_PATIENCE if is_queued else longest_s


def _longest_unseen(line: Line, soonest: float) -> list[Tracked]:
    """Return the jobs of a line that were not queried for longest, and not since ``soonest``.

    As many as fit a query, and those that tie with the last.
    """
    found: list[Tracked] = []
    for tracked in line.free():
        is_full = len(found) >= QUERY_SIZE and tracked.looked_at > found[-1].looked_at
        if tracked.looked_at > soonest or is_full:
            break
        found.append(tracked)
    return found
