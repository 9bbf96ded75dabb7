"""The index of tracked jobs gives the same decisions as a search through all jobs."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from timeit import repeat

import pytest

from orchestrator.domain.states import JobState
from orchestrator.runner.tracking.poll_policy import POLL_MIN_S, QUERY_SIZE, PollPolicy, Round
from orchestrator.runner.tracking.tracked_jobs import Tracked, TrackedJobs
from orchestrator.testing.builders import make_job, make_spec


class Searching(PollPolicy):
    """The same decision from a sort of all jobs: slow, and easy to trust."""

    def search(self, jobs: list[Tracked], now: float) -> Round:
        """See ``PollPolicy.decide``."""
        places: dict[object, list[Tracked]] = {}
        for tracked in jobs:
            if not tracked.is_asked:
                places.setdefault(tracked.job.spec.media.place, []).append(tracked)
        steps = []
        for place, there in places.items():
            guess_s = max(2.0, (now - min(one.since for one in there)) / 2)
            batch = self._best(there, guess_s, now)
            if self._is_worth(
                batch,
                guess_s,
                now,
                is_queued=self._is_queued(
                    [one for one in jobs if one.job.spec.media.place == place]
                ),
            ):
                return Round(tuple(one for _, one in batch))
            shortest_s = min([self._expected_s(one, guess_s) for _, one in batch], default=guess_s)
            steps.append(max(min(shortest_s / 20, 5.0), POLL_MIN_S / 4))
        return Round(again_in_s=min(steps, default=None))

    def _is_queued(self, there: list[Tracked]) -> bool:
        known = [one for one in there if one.hinted_at is None and one.looked_at != -math.inf]
        running = sum(one.is_running for one in known)
        return len(known) - running >= max(running, QUERY_SIZE)

    def _best(
        self, there: list[Tracked], guess_s: float, now: float
    ) -> list[tuple[float, Tracked]]:
        size = QUERY_SIZE
        begun = [
            one
            for one in there
            if one.is_running or one.hinted_at is not None or one.looked_at == -math.inf
        ]
        rated = [(self._chance(one, guess_s, now), one) for one in begun]
        freed = self._freed + math.ceil(sum(chance for chance, _ in rated)) if begun else size
        waiting = [one for one in there if one not in begun]
        waiting.sort(key=lambda one: -one.job.spec.level)
        rated += [(self._chance(one, guess_s, now), one) for one in waiting[: min(freed, size)]]
        rated = [pair for pair in rated if pair[1].looked_at <= now - POLL_MIN_S]
        rated.sort(key=lambda pair: -pair[0])
        return rated[:size]


class Events:
    """Random events of a tracker, applied to the index and to a plain list of jobs."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.plan = Searching(has_callbacks=self.random.random() < 0.3)
        self.followed = TrackedJobs()
        self.jobs: list[Tracked] = []
        self.now = 1000.0

    def put(self) -> None:
        """Add a job that was just accepted, or that an earlier run left."""
        number = len(self.jobs)
        spec = make_spec(self.random.randrange(10_000), level=self.random.choice((0, 0, 1, 2)))
        bucket = self.random.choice(("a-1250000000", "a-1250000000", "b-1250000000"))
        duration_s, size = self.random.choice(
            ((None, None), (30.0, None), (7200.0, 1), (None, 9_000), (None, 90_000_000))
        )
        spec = replace(
            spec, media=replace(spec.media, bucket=bucket, duration_s=duration_s, size_bytes=size)
        )
        looked_at = self.random.choice((self.now, self.now, -math.inf))
        tracked = Tracked(
            make_job(number, state=JobState.SUBMITTED, spec=spec), self.now, looked_at
        )
        self.jobs.append(tracked)
        self.followed.add(tracked)

    def look(self) -> None:
        """Query a decided batch, or a random one, and apply its answers."""
        free = [one for one in self.jobs if not one.is_asked]
        batch = self.plan.decide(self.followed, self.now).batch or tuple(
            self.random.sample(free, min(3, len(free)))
        )
        if batch:
            self.plan.asked(batch, self.now)
        ended = [self.random.uniform(0, 5) for _ in range(self.random.randrange(3))]
        self.plan.freed(ended, self.now)
        if batch:
            self.plan.saw_queue(
                batch[0].job.spec.media.place, is_waiting=self.random.random() < 0.5
            )
        for tracked in batch:
            state = self.random.choice(
                (JobState.SUBMITTED, JobState.RUNNING, JobState.RUNNING, None)
            )
            if state is None:
                self.drop(tracked)
                continue
            tracked.job = make_job(tracked.job.id, state=state, spec=tracked.job.spec)
            tracked.looked_at, tracked.hinted_at = self.now, None
            self.followed.refile(tracked)

    def drop(self, tracked: Tracked) -> None:
        """End a job; sometimes its run time is known."""
        self.jobs.remove(tracked)
        self.followed.remove(tracked)
        if self.random.random() < 0.5:
            ran_s = self.random.uniform(1, 100)
            self.plan.learn(
                make_job(1, spec=tracked.job.spec, started_at=1000.0, finished_at=1000.0 + ran_s)
            )

    def hint(self) -> None:
        """Receive a hint that a job has ended."""
        if self.jobs:
            tracked = self.random.choice(self.jobs)
            tracked.hinted_at = self.now
            self.followed.refile(tracked)

    def ask(self) -> None:
        """Start or fail the queries of some jobs."""
        for tracked in self.random.sample(self.jobs, min(4, len(self.jobs))):
            tracked.is_asked = not tracked.is_asked

    def act(self) -> None:
        """Apply one random event."""
        self.random.choice((self.put, self.put, self.put, self.look, self.hint, self.ask))()
        self.now += self.random.choice((0.0, 0.01, 0.5, 1.0, 3.0))

    def check(self) -> None:
        """Compare the two decisions."""
        found = self.plan.decide(self.followed, self.now)
        expected = self.plan.search(self.jobs, self.now)

        assert (found.batch, found.again_in_s) == (expected.batch, expected.again_in_s)


@pytest.mark.parametrize("seed", range(60))
def test_the_decision_equals_that_of_a_search_through_all_jobs(seed: int) -> None:
    events = Events(seed)
    for _ in range(250):
        events.act()
        events.check()


def test_a_removed_job_stays_removed_when_it_is_filed_again() -> None:
    followed = TrackedJobs()
    tracked = Tracked(make_job(1, state=JobState.RUNNING), 0.0, 0.0)
    followed.add(tracked)
    followed.remove(tracked)

    followed.refile(tracked)
    followed.remove(tracked)

    assert followed.places() == []


def test_the_time_of_a_decision_hardly_grows_with_the_number_of_jobs() -> None:
    plan = PollPolicy()
    plan.learn(make_job(1, started_at=1000.0, finished_at=1040.0))

    def cost_of(count: int) -> float:
        jobs = [
            Tracked(
                make_job(n, state=JobState.RUNNING if n % 2 else JobState.SUBMITTED),
                0.0,
                n * 10.0 / count,
            )
            for n in range(count)
        ]
        followed = TrackedJobs(jobs)
        return min(repeat(lambda: plan.decide(followed, 12.0), number=20, repeat=5))

    assert cost_of(10_000) < 20 * cost_of(100), "with a hundred times the jobs"
