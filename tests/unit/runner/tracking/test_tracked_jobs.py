"""The index of tracked jobs gives the same decisions as a search through all jobs."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from timeit import repeat

import pytest

from orchestrator.domain.states import JobState
from orchestrator.runner.tracking.poll_policy import POLL_MIN_S, QUERY_SIZE, PollPolicy
from orchestrator.runner.tracking.tracked_jobs import (
    Answer,
    Tracked,
    TrackedAtPlace,
    TrackedJobs,
)
from orchestrator.testing.builders import make_job, make_spec


class Searching(PollPolicy):
    """The same candidates from a sort of all jobs: slow, and easy to trust."""

    def check(self, followed: TrackedJobs, now: float) -> None:
        """Compare the candidates of each bucket."""
        for place in followed.places():
            assert self._candidates(place, now) == self._search(place, now)

    def _search(self, place: TrackedAtPlace, now: float) -> list[tuple[float, Tracked]]:
        jobs = list(place.all.values())
        free = [one for one in jobs if not one.is_asked and one.looked_at <= now - POLL_MIN_S]
        begun = [one for one in free if one.may_have_ended][:QUERY_SIZE]
        begun += [
            one
            for one in free
            if not one.may_have_ended and not one.is_queued and one.open_at <= now - POLL_MIN_S
        ]
        begun.sort(key=lambda one: one.number)
        rated = [(self._chance(one, now), one) for one in begun]
        queued = [one for one in jobs if one.is_queued and not one.may_have_ended]
        queued.sort(key=lambda one: (-one.job.spec.level, one.number))
        first_s, pace_s = self._pace_s(place)
        for position, one in enumerate(queued[:QUERY_SIZE]):
            if one in free:
                begun_at = place.queued_at + first_s + position * pace_s
                rated.append((self._chance_since(one, begun_at, now), one))
        rated.sort(key=lambda pair: -pair[0])
        return rated[:QUERY_SIZE]


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
        """Query a decided batch, or a random one of one bucket, and apply its answers."""
        free = [one for one in self.jobs if not one.is_asked]
        batch = self.plan.decide(self.followed, self.now).batch
        if not batch and free:
            place = self.random.choice(free).job.spec.media.place
            there = [one for one in free if one.job.spec.media.place == place]
            batch = tuple(self.random.sample(there, min(3, len(there))))
        if not batch:
            return
        self.plan.asked(batch, self.now)
        answer = Answer([], [], [], [])
        for one in batch:
            one.looked_at, one.hinted_at = self.now, None
            self.random.choice(
                (answer.waiting, answer.running, answer.ended, answer.unclear)
            ).append(one)
        self.followed.saw(answer, self.now)
        for one in batch:
            self.see(one, answer)
        self.plan.answered(batch)

    def see(self, tracked: Tracked, answer: Answer) -> None:
        """Apply the answer to one job."""
        if tracked in answer.ended:
            self.drop(tracked)
            return
        if tracked in answer.running:
            tracked.job = make_job(tracked.job.id, state=JobState.RUNNING, spec=tracked.job.spec)
            tracked.begin(self.random.choice((None, 0.0, 5.0, 500.0)))
        self.followed.refile(tracked)

    def drop(self, tracked: Tracked) -> None:
        """End a job; sometimes its run time is known."""
        self.jobs.remove(tracked)
        self.followed.remove(tracked)
        tracked.job.started_at = self.random.choice((None, 1000.0))
        tracked.job.finished_at = 1000.0 + self.random.uniform(1, 100)
        self.plan.learn(tracked)

    def hint(self) -> None:
        """Receive a hint that a job has ended."""
        if self.jobs:
            tracked = self.random.choice(self.jobs)
            self.followed.hint(tracked, self.now)

    def ask(self) -> None:
        """Start or fail the queries of some jobs."""
        for tracked in self.random.sample(self.jobs, min(4, len(self.jobs))):
            tracked.is_asked = not tracked.is_asked

    def act(self) -> None:
        """Apply one random event."""
        self.random.choice((self.put, self.put, self.put, self.look, self.hint, self.ask))()
        self.now += self.random.choice((0.0, 0.01, 0.5, 1.0, 3.0))

    def check(self) -> None:
        """Compare the decision with that of a search, and the groups with one another."""
        self.plan.check(self.followed, self.now)
        for place in self.followed.places():
            assert len(place.all) == place.begun_count + place.queued_count + len(place.ended)


@pytest.mark.parametrize("seed", range(60))
def test_the_candidates_equal_those_of_a_search_through_all_jobs(seed: int) -> None:
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
    plan.learn(Tracked(make_job(1, started_at=1000.0, finished_at=1040.0), 0.0, 50.0))

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


def jobs_of(count: int, level: int = 0) -> list[Tracked]:
    return [
        Tracked(make_job(n, state=JobState.SUBMITTED, spec=make_spec(n, level=level)), 0.0, 0.0)
        for n in range(count)
    ]


def seen(followed: TrackedJobs, answer: Answer, at: float) -> TrackedAtPlace:
    """Apply an answer about running and waiting jobs."""
    for one in (*answer.waiting, *answer.running, *answer.ended):
        one.looked_at = at
    followed.saw(answer, at)
    for one in answer.running:
        one.job = make_job(one.job.id, state=JobState.RUNNING, spec=one.job.spec)
        one.begin(None)
    for one in (*answer.waiting, *answer.running):
        followed.refile(one)
    for one in answer.ended:
        followed.remove(one)
    return followed.places()[0]


def test_behind_a_waiting_job_all_wait_and_ahead_of_one_that_has_begun_all_have() -> None:
    jobs = jobs_of(30)
    followed = TrackedJobs(jobs)

    place = seen(followed, Answer([jobs[10]], [jobs[0], jobs[1]], [], []), 5.0)
    assert [one.number for one in place.queued()] == list(range(11, 31))
    assert place.begun_count == 10

    place = seen(followed, Answer([], [jobs[15]], [jobs[12]], []), 50.0)
    assert [one.number for one in place.queued()] == list(range(17, 31))
    assert jobs[13].idle_at == 5.0, "it was last known to wait at the first answer"


def test_a_new_job_waits_if_others_do() -> None:
    jobs = jobs_of(3)
    followed = TrackedJobs(jobs)
    place = seen(followed, Answer([jobs[2]], [jobs[0]], [], []), 5.0)
    followed.add(Tracked(make_job(9, spec=make_spec(9)), 6.0, 6.0))

    assert place.queued_count == 2


def test_a_job_of_a_higher_level_does_not_wait_because_one_of_a_lower_level_does() -> None:
    low, high = jobs_of(2), jobs_of(1, level=2)
    followed = TrackedJobs([*low, *high])

    place = seen(followed, Answer([low[1]], [low[0]], [], []), 5.0)

    assert list(place.queued()) == [low[1]]


def test_an_answer_in_no_order_says_something_only_of_its_own_jobs() -> None:
    jobs = jobs_of(20)
    followed = TrackedJobs(jobs)

    place = seen(followed, Answer([jobs[0], jobs[1]], [jobs[19]], [], []), 5.0)

    assert [one.number for one in place.queued()] == [1, 2]
    assert place.begun_count == 18


def test_the_service_is_as_wide_as_jobs_were_seen_to_run_while_others_wait() -> None:
    jobs = jobs_of(20)
    followed = TrackedJobs(jobs)

    assert seen(followed, Answer(jobs[3:9], jobs[:3], [], []), 5.0).width == 3
    place = seen(followed, Answer(jobs[4:9], [jobs[3]], jobs[:3], []), 9.0)
    assert (place.width, place.begun_count) == (3, 1)


@pytest.mark.parametrize(
    ("ago_s", "began_at"), [(None, 10.0), (3.0, 7.0), (100.0, 4.0), (-50.0, 10.0)]
)
def test_a_wrong_clock_moves_the_start_of_a_job_only_within_what_is_known(
    ago_s: float | None, began_at: float
) -> None:
    tracked = Tracked(make_job(1), since=2.0, looked_at=10.0, idle_at=4.0)

    tracked.begin(ago_s)

    assert tracked.began_at == began_at


def test_an_answer_without_a_waiting_job_makes_the_known_queue_doubtful() -> None:
    jobs = jobs_of(20)
    followed = TrackedJobs(jobs)
    assert not seen(followed, Answer(jobs[2:9], jobs[:2], [], []), 5.0).is_stale
    place = seen(followed, Answer([], jobs[2:9], [], []), 9.0)
    new = Tracked(make_job(99, spec=make_spec(99)), 10.0, 10.0)
    followed.add(new)

    assert place.is_stale
    assert not new.is_queued, "the queue may be empty by now"


def test_jobs_with_a_callback_say_nothing_of_the_others_when_they_have_ended() -> None:
    jobs = jobs_of(20)
    followed = TrackedJobs(jobs)
    place = seen(followed, Answer(jobs[2:9], jobs[:2], [], []), 5.0)
    followed.hint(jobs[0], 9.0)
    jobs[0].looked_at = 9.5
    followed.saw(Answer([], [], [jobs[0]], []), 9.5)
    assert (place.is_blind, place.is_stale) == (False, False)

    followed.saw(Answer([], [], [jobs[1]], []), 9.5)
    assert (place.is_blind, place.is_stale) == (True, True)


def test_the_time_that_a_service_holds_all_jobs_is_not_time_of_work() -> None:
    jobs = jobs_of(20)
    followed = TrackedJobs(jobs)
    assert seen(followed, Answer(jobs[:9], [], [], []), 500.0).since == 0.0
    assert seen(followed, Answer(jobs[:9], [], [], []), 505.0).since == 0.0
    assert seen(followed, Answer(jobs[1:9], [jobs[0]], [], []), 510.0).since == 505.0
    assert seen(followed, Answer(jobs[2:9], [jobs[1]], [], []), 520.0).since == 505.0
