"""The poll policy: few queries, none too late, and at most the vendor's ten ids in each."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.states import JobState
from orchestrator.runner.tracking.poll_policy import POLL_MAX_S, POLL_MIN_S, QUERY_SIZE, PollPolicy
from orchestrator.runner.tracking.tracked_jobs import Tracked, TrackedJobs
from orchestrator.testing.builders import make_job, make_spec


def tracked(
    number: int,
    since: float = 0.0,
    state: JobState = JobState.SUBMITTED,
    bucket: str = "a-1250000000",
) -> Tracked:
    spec = make_spec(number)
    job = make_job(
        number, state=state, spec=replace(spec, media=replace(spec.media, bucket=bucket))
    )
    return Tracked(job, since, since)


def first_look_s(plan: PollPolicy, jobs: list[Tracked], limit_s: float = 1e5) -> float:
    """Return the time of the first query if the caller waits as long as the policy says."""
    now = 0.0
    followed = TrackedJobs(jobs)
    while not (found := plan.decide(followed, now)).batch:
        assert found.again_in_s is not None
        assert found.again_in_s > 0, "it would spin"
        now += found.again_in_s
        assert now < limit_s, "it never asks"
    return now


def test_without_tracked_jobs_there_is_no_query_and_no_wait() -> None:
    found = PollPolicy().decide(TrackedJobs(), 0.0)

    assert (found.batch, found.again_in_s) == ((), None)


def test_a_job_that_may_have_ended_long_ago_is_queried_soon() -> None:
    one = tracked(1)
    one.looked_at = float("-inf")

    assert first_look_s(PollPolicy(), [one]) <= 3


def test_a_job_with_a_hint_is_queried_soon() -> None:
    one = tracked(1)
    one.hinted_at = 0.0

    assert first_look_s(PollPolicy(), [one]) <= 2


def test_a_learned_run_time_moves_the_queries() -> None:
    plan = PollPolicy()
    for number in range(30):
        plan.learn(make_job(number, started_at=1000.0, finished_at=1060.0))
    quick = PollPolicy()
    for number in range(30):
        quick.learn(make_job(number, started_at=1000.0, finished_at=1002.0))

    assert first_look_s(plan, [tracked(1, state=JobState.RUNNING)]) > 5 * first_look_s(
        quick, [tracked(1, state=JobState.RUNNING)]
    )


@given(st.integers(1, 60), st.floats(0.5, 3000), st.booleans(), st.booleans())
def test_a_query_has_at_most_ten_ids_of_one_bucket_and_comes_within_bounds(
    count: int, run_s: float, learned: bool, running: bool
) -> None:
    plan = PollPolicy()
    if learned:
        plan.learn(make_job(1, started_at=1000.0, finished_at=1000.0 + run_s))
    state = JobState.RUNNING if running else JobState.SUBMITTED
    jobs = [
        tracked(number, state=state, bucket=f"{'ab'[number % 2]}-1250000000")
        for number in range(count)
    ]

    asked_at = first_look_s(plan, jobs)
    batch = plan.decide(TrackedJobs(jobs), asked_at).batch

    assert 1 <= len(batch) <= QUERY_SIZE
    assert len({one.job.spec.media.place for one in batch}) == 1
    assert len({id(one) for one in batch}) == len(batch)
    assert asked_at >= POLL_MIN_S, "sooner than the shortest time between two queries"
    assert asked_at <= max(POLL_MAX_S, 2 * run_s) + 5


def test_the_only_job_of_a_bucket_is_queried_in_time_even_if_another_bucket_is_busy() -> None:
    plan, followed, busy = PollPolicy(), TrackedJobs(), "a-1250000000"
    plan.learn(make_job(1, started_at=1000.0, finished_at=1010.0))
    alone = tracked(0, state=JobState.RUNNING, bucket="b-1250000000")
    for one in (
        alone,
        *(tracked(number, state=JobState.RUNNING, bucket=busy) for number in range(1, 100)),
    ):
        followed.add(one)
    now, number = 0.0, 100

    while alone not in (batch := plan.decide(followed, now).batch):
        if batch:
            plan.asked(batch, now)
        for one in batch:  # all of them have ended, and others replace them
            followed.remove(one)
            number += 1
            followed.add(tracked(number, now, JobState.RUNNING, busy))
        now += 0.0 if batch else 0.5
        assert now < 20, "it waits for the other bucket"
    assert number > 150, "the other bucket was not busy"


def test_many_buckets_with_one_job_each_are_queried_in_the_time_of_one() -> None:
    plan, followed = (
        PollPolicy(),
        TrackedJobs(tracked(number, bucket=f"b{number}-1250000000") for number in range(100)),
    )
    unseen, now = 100, 0.0

    while unseen:
        if batch := plan.decide(followed, now).batch:
            plan.asked(batch, now)
            for one in batch:
                followed.remove(one)
            unseen -= len(batch)
        now += 0.0 if batch else 0.1
        assert now < 10


def lengthy(number: int, duration_s: float | None) -> Tracked:
    one = tracked(number, state=JobState.RUNNING)
    one.job.spec = replace(one.job.spec, media=replace(one.job.spec.media, duration_s=duration_s))
    return one


def test_a_long_object_is_expected_to_take_long_even_if_short_ones_are_quick() -> None:
    plan = PollPolicy()
    for number in range(40):
        clip_or_film_s = (100.0, 7200.0)[number % 2]
        plan.learn(
            make_job(
                number,
                spec=lengthy(1, clip_or_film_s).job.spec,
                started_at=0.0,
                finished_at=clip_or_film_s / 10,
            )
        )

    assert first_look_s(plan, [lengthy(1, 100.0)]) < 20
    assert 100 < first_look_s(plan, [lengthy(2, 7200.0)]) < 1000


def test_a_job_that_keeps_running_is_queried_at_growing_intervals() -> None:
    """A job that has run for an hour is unlikely to end in the next ten seconds."""
    plan, one, looks, now = PollPolicy(), lengthy(1, None), [0.0], 0.0
    plan.learn(make_job(1, started_at=0.0, finished_at=10.0))
    followed = TrackedJobs([one])
    while now < 3000:
        found = plan.decide(followed, now)
        if found.batch:
            looks.append(now)
            one.looked_at = now
            followed.refile(one)
        now += found.again_in_s or 1.0

    gaps = [after - before for before, after in pairwise(looks)]
    assert len(looks) < 50
    assert max(gaps) > 5 * gaps[0]


def test_while_many_jobs_wait_at_the_service_a_query_waits_to_bring_more_answers() -> None:
    def asked_at(waiting: int, *, is_seen: bool = True) -> float:
        plan = PollPolicy()
        plan.saw_queue(tracked(1).job.spec.media.place, is_waiting=is_seen)
        plan.learn(make_job(1, started_at=0.0, finished_at=20.0))
        plan.freed([], 0.0)
        return first_look_s(
            plan,
            [
                *(tracked(n, state=JobState.RUNNING) for n in range(3)),
                *(tracked(10 + n) for n in range(waiting)),
            ],
        )

    assert asked_at(30) > 1.5 * asked_at(3)
    assert asked_at(30, is_seen=False) < asked_at(30), (
        "without a known queue, all of them may have ended"
    )
