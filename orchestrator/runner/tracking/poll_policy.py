"""Which jobs to ask about, and when: as few queries as can be, each about jobs that have probably ended. Pure; ``now`` is an argument.

A query carries up to ten ids and costs one call, however many of them have ended. So it is worth its price when some have. The chance
that a job has ended since it was looked at last follows from how long such jobs run, which the service tells with every job that ends
(``StartTime``, ``EndTime``): those of media of about the same length, where lengths are known. And who was seen running for long will
probably run for as long again, whatever was expected. A query goes out when the chances of its ten best candidates add up to
``query_worth`` ended jobs, or when nothing was asked of their bucket for as long as a job takes; later while the service has enough to do.
Of the jobs that are not known to run only the first few in the service's own order (level, then age) can have begun: those behind them
wait for the same reason as ever, and asking about them tells nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain, islice
from operator import attrgetter
from typing import TYPE_CHECKING

from orchestrator.runner.tracking.run_times import RunTimes
from orchestrator.runner.tracking.tracked_jobs import Followed, Tracked

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import Place
    from orchestrator.runner.settings import EngineSettings
    from orchestrator.runner.tracking.tracked_jobs import AtPlace, Line

__all__ = ["Followed", "PollPlan", "Round", "Tracked"]

_FIRST_GUESS_S = 2.0  # run time of a job before any was seen; grows with the age of the oldest one


@dataclass(frozen=True, slots=True)
class Round:
    """What to do now: ask about ``batch`` (jobs of one bucket), or, if that is empty, look again in ``again_in_s``."""

    batch: tuple[Tracked, ...] = ()
    again_in_s: float | None = None


class PollPlan:
    """Learns how long jobs run, and decides.

    Args:
        settings: Bounds.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._run_times = RunTimes()
        self._has_any_ended = False
        self._asked_at: dict[
            Place, float
        ] = {}  # of each bucket: a busy one must not keep the others waiting
        self._queued: dict[
            Place, bool
        ] = {}  # whether jobs of a bucket, asked about last, still waited for their turn
        self._freed_at = -math.inf
        self._freed = 0

    def freed(self, ended_ago_s: Sequence[float], now: float) -> None:
        """An answer told of jobs that ended so long ago: as many others may have begun then."""
        if ended_ago_s:
            self._freed_at = now - max(ended_ago_s)
        self._freed = len(ended_ago_s)

    def saw_queue(self, place: Place, *, is_waiting: bool) -> None:
        """Jobs were asked about that were not known to run: whether any of them still waits for its turn."""
        self._queued[place] = is_waiting

    def learn(self, job: Job) -> None:
        """A job ended: how long did it run?"""
        self._has_any_ended = True
        if job.started_at is None or job.finished_at is None:
            return
        ran_s = max(job.finished_at - job.started_at, 0.5)  # the service tells whole seconds
        self._run_times.learn(job.spec.media, ran_s)

    def asked(self, batch: Sequence[Tracked], now: float) -> None:
        """A query about these jobs of one bucket goes out."""
        self._asked_at[batch[0].job.spec.media.place] = now

    def decide(self, jobs: Followed | Iterable[Tracked], now: float) -> Round:
        """Whether to ask now, and about which of ``jobs`` (but for those that a query is under way for)."""
        followed = jobs if isinstance(jobs, Followed) else Followed(jobs)
        again_in_s: float | None = None
        for place in followed.places():
            guess_s = self._guess_s(place, now)
            batch = self._candidates(place, guess_s, now)
            if self._is_worth(
                batch, guess_s, now, is_queued=place.is_queued(self._settings.query_size)
            ):
                return Round(tuple(tracked for _, tracked in batch))
            shortest_s = min(
                [self._expected_s(tracked, guess_s) for _, tracked in batch], default=guess_s
            )
            step_s = max(min(shortest_s / 20, 5.0), self._settings.poll_min_s / 4)
            again_in_s = step_s if again_in_s is None else min(again_in_s, step_s)
        return Round(again_in_s=again_in_s)

    def _guess_s(self, place: AtPlace, now: float) -> float:
        """How long jobs are taken to run before any has ended.

        Half of the age of the oldest one: so the looks at a job of unknown length come at growing distances.
        """
        oldest = place.first()
        return max(_FIRST_GUESS_S, (now - oldest.since) / 2 if oldest is not None else 0.0)

    def _expected_s(self, tracked: Tracked, guess_s: float) -> float:
        """For how long a job that runs will probably run on."""
        learned_s = self._run_times.of(tracked.job.spec.media)
        return max(guess_s if learned_s is None else learned_s, float(1 << tracked.ran_power >> 1))

    def _candidates(
        self, place: AtPlace, guess_s: float, now: float
    ) -> list[tuple[float, Tracked]]:
        """The ten jobs that have most probably ended, with their chances."""
        size = self._settings.query_size
        soonest = now - self._settings.poll_min_s
        begun = list(
            islice(
                (tracked for tracked in place.ended.free() if tracked.looked_at <= soonest), size
            )
        )
        for line in place.running():
            begun += _longest_unseen(line, soonest, size)
        begun.sort(key=attrgetter("number"))
        waiting = islice(place.waiting(), self._may_have_begun(place, guess_s, now))
        asked = [*begun, *(tracked for tracked in waiting if tracked.looked_at <= soonest)]
        rated = [(self._chance(tracked, guess_s, now), tracked) for tracked in asked]
        rated.sort(
            key=lambda pair: -pair[0]
        )  # stable: of those with the same chance the older first
        return rated[:size]

    def _may_have_begun(self, place: AtPlace, guess_s: float, now: float) -> int:
        """How many waiting jobs can have begun, up to those of a query.

        As many as others have ended: those that the last answer told of, and those that probably have since.
        """
        size = self._settings.query_size
        if next(place.waiting(), None) is None:
            return 0
        ended, is_any = 0.0, False
        for tracked in chain(place.ended.free(), *[line.free() for line in place.running()]):
            is_any = True
            ended += self._chance(tracked, guess_s, now)
            if self._freed + math.ceil(ended) >= size:  # soon reached: the best chances come first
                return size
        return min(self._freed + math.ceil(ended), size) if is_any else size

    def _chance(self, tracked: Tracked, guess_s: float, now: float) -> float:
        """The chance that the job has ended since it was looked at: run times are taken as exponential, which forgets nothing it needs."""
        if tracked.hinted_at is not None:
            return 1.0
        began_at, scale_s = tracked.looked_at, self._expected_s(tracked, guess_s)
        if not tracked.is_running and began_at != -math.inf:
            # It had not begun when it was looked at. What lets it begin is the end of another job.
            began_at = max(began_at, self._freed_at)
            scale_s *= 2
        if self._settings.has_callbacks:
            scale_s *= self._settings.callback_patience
        return 1.0 - math.exp(-(now - began_at) / scale_s)

    def _is_worth(
        self, batch: list[tuple[float, Tracked]], guess_s: float, now: float, *, is_queued: bool
    ) -> bool:
        settings = self._settings
        if not batch:
            return False
        best = batch[0][1]
        place = best.job.spec.media.place
        asked_at = self._asked_at.get(place, -math.inf)
        if not (self._has_any_ended or best.may_have_ended) and now - asked_at < min(
            guess_s / 2, settings.poll_max_s
        ):
            return False  # ten of them tell as much as all
        is_queued = is_queued and self._queued.get(place, False)
        worth = (
            settings.hinted_worth
            if settings.has_callbacks
            else settings.queued_worth
            if is_queued
            else settings.query_worth
        )
        if sum(chance for chance, _ in batch) >= worth:
            return True
        hints = [tracked.hinted_at for _, tracked in batch if tracked.hinted_at is not None]
        if hints and (
            len(hints) == len(batch) < settings.query_size
            or now - min(hints) >= settings.hint_gather_s
        ):
            return True
        return now - max(asked_at, best.looked_at) >= self._longest_s(
            best, guess_s, is_queued=is_queued
        )

    def _longest_s(self, best: Tracked, guess_s: float, *, is_queued: bool) -> float:
        """How long nothing is asked of a bucket at most, however little an answer is likely to tell."""
        settings, run_s = self._settings, self._expected_s(best, guess_s)
        longest_s = min(max(1.25 * run_s, settings.poll_min_s), max(settings.poll_max_s, run_s / 3))
        if settings.has_callbacks:
            return min(longest_s * settings.callback_patience, settings.callback_max_s)
        return longest_s * settings.queued_patience if is_queued else longest_s


def _longest_unseen(line: Line, soonest: float, size: int) -> list[Tracked]:
    """Of a line those that were not looked at for longest, and not since ``soonest``: ``size``, and those just like the last."""
    found: list[Tracked] = []
    for tracked in line.free():
        if tracked.looked_at > soonest or (
            len(found) >= size and tracked.looked_at > found[-1].looked_at
        ):
            break
        found.append(tracked)
    return found
