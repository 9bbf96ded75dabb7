"""The poll policy: few queries, none too late, and at most the vendor's ten ids in each."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.states import JobState
from orchestrator.runner.tracking.poll_policy import POLL_MIN_S, QUERY_SIZE, PollPolicy
from orchestrator.runner.tracking.tracked_jobs import Answer, Tracked, TrackedJobs
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


def taught(*run_times_s: float, has_callbacks: bool = False) -> PollPolicy:
    plan = PollPolicy(has_callbacks=has_callbacks)
    for number, run_s in enumerate(run_times_s):
        job = make_job(number, started_at=1000.0, finished_at=1000.0 + run_s)
        plan.learn(Tracked(job, 0.0, 1e6))
    return plan


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


def later_look_s(
    plan: PollPolicy, duration_s: float | None, count: int = 12, before: int = 1
) -> float:
    """Return when jobs that begin now are queried, after others that ended hours ago."""
    earlier = [tracked(1000 + number, -9999.0) for number in range(before)]
    followed = TrackedJobs(earlier)
    for one in earlier:
        followed.remove(one)
    jobs = [lengthy(number, duration_s) for number in range(count)]
    plan.asked(jobs, 0.0)
    plan.answered(jobs)
    now = 0.0
    for one in jobs:
        followed.add(one)
    while not (found := plan.decide(followed, now)).batch:
        now += found.again_in_s or 1.0
        assert now < 1e5, "it never asks"
    return now


def test_without_tracked_jobs_there_is_no_query_and_no_wait() -> None:
    found = PollPolicy().decide(TrackedJobs(), 0.0)

    assert (found.batch, found.again_in_s) == ((), None)


def test_a_job_that_may_have_ended_long_ago_is_queried_soon() -> None:
    one = tracked(1)
    one.looked_at = float("-inf")

    assert first_look_s(PollPolicy(), [one]) <= 3


def test_a_job_with_a_hint_is_queried_soon() -> None:
    followed = TrackedJobs([tracked(1)])
    followed.hint(next(iter(followed.places()[0].all.values())), 0.0)
    now, plan = 0.0, PollPolicy(has_callbacks=True)
    while not plan.decide(followed, now).batch:
        now += 0.1

    assert now <= 1.5


def test_a_learned_run_time_moves_the_queries() -> None:
    assert later_look_s(taught(*[60.0] * 30), None) > 5 * later_look_s(taught(*[2.0] * 30), None)


@given(st.integers(1, 60), st.floats(0.5, 3000), st.booleans(), st.booleans())
def test_a_query_has_at_most_ten_ids_of_one_bucket_and_comes_within_bounds(
    count: int, run_s: float, learned: bool, running: bool
) -> None:
    plan = taught(*[run_s] * learned)
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
    assert asked_at <= max(5.0, 1.15 * run_s * learned) + 1.0


def test_the_only_job_of_a_bucket_is_queried_in_time_even_if_another_bucket_is_busy() -> None:
    plan, followed, busy = taught(10.0), TrackedJobs(), "a-1250000000"
    alone = tracked(0, state=JobState.RUNNING, bucket="b-1250000000")
    for one in (
        alone,
        *(tracked(number, state=JobState.RUNNING, bucket=busy) for number in range(1, 100)),
    ):
        followed.add(one)
    now, number = 0.0, 100

    while now < 30.0:
        batch = plan.decide(followed, now).batch
        if batch:
            plan.asked(batch, now)
            plan.answered(batch)
        for one in batch:
            one.looked_at = now
            followed.refile(one)
            if one is not alone:  # all of the others have ended, and new ones replace them
                followed.remove(one)
                number += 1
                followed.add(tracked(number, now, JobState.RUNNING, busy))
        now += 0.0 if batch else 0.5
        assert now - alone.looked_at < 6, "it waits for the other bucket"
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
            plan.answered(batch)
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
        one = lengthy(number, clip_or_film_s)
        one.job.started_at, one.job.finished_at, one.looked_at = 0.0, clip_or_film_s / 10, 1e6
        plan.learn(one)

    assert later_look_s(plan, 100.0) < 20
    assert 100 < later_look_s(plan, 7200.0) < 1000


def test_a_job_that_keeps_running_is_queried_at_growing_intervals() -> None:
    """A job that has run for an hour is unlikely to end in the next ten seconds."""
    plan, one, looks, now = taught(10.0), lengthy(1, None), [0.0], 0.0
    one.begin(None)
    followed = TrackedJobs([one])
    while now < 3000:
        found = plan.decide(followed, now)
        if found.batch:
            plan.asked(found.batch, now)
            plan.answered(found.batch)
            looks.append(now)
            one.looked_at = now
            followed.refile(one)
        now += found.again_in_s or 1.0

    gaps = [after - before for before, after in pairwise(looks)]
    assert len(looks) < 50
    assert max(gaps) > 5 * gaps[0]
    assert all(gap <= max(5.0, 0.15 * at) for gap, at in zip(gaps, looks, strict=False))


def test_no_query_is_sent_beside_another_one_only_because_all_may_be_over() -> None:
    followed = TrackedJobs(tracked(number) for number in range(30))
    plan = PollPolicy()
    batch = plan.decide(followed, 5.0).batch
    plan.asked(batch, 5.0)
    for one in batch:
        one.is_asked = True

    assert not plan.decide(followed, 7.0).batch
    assert plan.decide(followed, 8.5).batch, "an answer that does not come is not waited for"


def test_hints_share_a_query_as_the_budget_asks() -> None:
    def hints_needed(count: int) -> int:
        followed = TrackedJobs(tracked(number, state=JobState.RUNNING) for number in range(count))
        plan = taught(*[600.0] * 20, has_callbacks=True)
        for number, one in enumerate(list(followed.places()[0].all.values())):
            followed.hint(one, 0.0)
            if plan.decide(followed, 1.1).batch:
                return number + 1
        raise AssertionError("never")

    assert hints_needed(3) == 3
    assert 7 <= hints_needed(100) <= 10


def test_callbacks_that_do_not_come_are_not_relied_on() -> None:
    """Jobs were found to have ended without one, so the others may have, too."""
    lost = taught(*[60.0] * 20, has_callbacks=True)
    heard = PollPolicy(has_callbacks=True)
    for number in range(20):
        job = make_job(number, started_at=1000.0, finished_at=1060.0)
        heard.learn(Tracked(job, 0.0, 1e6, hinted_at=1.0))

    assert later_look_s(lost, None, 100, 900) < 60 < later_look_s(heard, None, 100, 900)


def test_a_run_time_longer_than_the_job_was_there_is_not_believed() -> None:
    plan = PollPolicy()
    job = make_job(1, started_at=1000.0, finished_at=1e9)
    plan.learn(Tracked(job, since=0.0, looked_at=9.0))

    assert later_look_s(plan, None) <= 12.0


@pytest.mark.parametrize("stuck", [0, 10, 39])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_a_service_with_an_order_of_its_own_hides_no_ended_job(
    stuck: int, *, is_reversed: bool
) -> None:
    """The jobs that arrived first wait for ever; the others run one by one, in either order."""
    jobs = [tracked(number) for number in range(40)]
    followed, plan, now = TrackedJobs(jobs), PollPolicy(), 0.0
    order = list(reversed(jobs[stuck:])) if is_reversed else jobs[stuck:]
    ends_at = {id(one): 20.0 * (at + 1) for at, one in enumerate(order)}
    last_at = max(ends_at.values())

    while len(followed.places()[0].all if followed.places() else []) > stuck:
        found = plan.decide(followed, now)
        if not found.batch:
            now += found.again_in_s or 1.0
            assert now < 6 * last_at + 600.0, "an ended job is never looked at"
            continue
        plan.asked(found.batch, now)
        answer = Answer([], [], [], [])
        for one in found.batch:
            one.looked_at, end_at = now, ends_at.get(id(one), 1e9)
            part = answer.ended if end_at <= now else answer.running
            (part if end_at - 20.0 <= now else answer.waiting).append(one)
        followed.saw(answer, now)
        for one in answer.ended:
            one.job.started_at, one.job.finished_at = 1000.0, 1020.0
            plan.learn(one)
            followed.remove(one)
        for one in answer.running:
            one.job = make_job(one.job.id, state=JobState.RUNNING, spec=one.job.spec)
            one.begin(now + 20.0 - ends_at[id(one)])
        for one in (*answer.running, *answer.waiting):
            followed.refile(one)
        plan.answered(found.batch)
        now += 0.1
