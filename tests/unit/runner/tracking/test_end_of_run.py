"""When a bucket must be queried, because the last of its jobs may have ended."""

from __future__ import annotations

import math

import pytest

from orchestrator.domain.states import JobState
from orchestrator.runner.tracking.end_of_run import EndOfRun
from orchestrator.runner.tracking.run_times import RunTimes
from orchestrator.runner.tracking.tracked_jobs import (
    Answer,
    Tracked,
    TrackedAtPlace,
    TrackedJobs,
)
from orchestrator.testing.builders import make_job, make_spec

AMPLE, NONE_LEFT = 5.0, 0.0


def place_of(count: int, running: int, at: float, *, ended: int = 0) -> TrackedAtPlace:
    """Return a bucket of jobs accepted at 0; an answer has shown some running, and others wait."""
    jobs = [
        Tracked(make_job(n, state=JobState.SUBMITTED, spec=make_spec(n)), 0.0, 0.0)
        for n in range(count)
    ]
    followed = TrackedJobs(jobs)
    begun = jobs[: ended + running]
    followed.saw(Answer(jobs[len(begun) :], begun[ended:], begun[:ended], []), at)
    for one in begun[ended:]:
        one.job = make_job(one.job.id, state=JobState.RUNNING, spec=one.job.spec)
        one.looked_at = at
        one.begin(at)
        followed.refile(one)
    for one in begun[:ended]:
        followed.remove(one)
    return followed.places()[0]


def due_s(place: TrackedAtPlace, *learned_s: float, spare: float = AMPLE) -> float:
    """Return how long after the answer the bucket is due."""
    times = RunTimes()
    for run_s in learned_s:
        times.learn(make_spec(1).media, run_s)
    return EndOfRun(times).due_at(place, place.open_at, spare) - place.open_at


@pytest.mark.parametrize(("age_s", "within_s"), [(3.0, 5.0), (30.0, 5.0), (100.0, 15.0)])
@pytest.mark.parametrize("count", [1, 9, 12])
def test_running_jobs_are_due_within_the_delay_that_the_end_of_a_run_may_have(
    count: int, age_s: float, within_s: float
) -> None:
    assert within_s - 1.0 < due_s(place_of(count, count, age_s)) < within_s


@pytest.mark.parametrize(("age_s", "within_s"), [(3.0, 1.0), (30.0, 4.5)])
def test_where_queries_cost_nothing_the_end_is_seen_sooner(age_s: float, within_s: float) -> None:
    place = place_of(5, 5, age_s)
    due_s = EndOfRun(RunTimes(), soon_s=1.0).due_at(place, place.open_at, AMPLE) - place.open_at
    assert 0.3 < due_s < within_s


def test_of_few_jobs_nothing_is_taken_for_granted_while_some_wait() -> None:
    place = place_of(9, 1, 1000.0)

    assert due_s(place) < 5.0
    assert due_s(place, 3600.0, 3600.0) < 5.0


def test_a_paused_queue_is_queried_when_it_has_waited_for_2_percent_longer() -> None:
    place = place_of(3, 0, 1000.0)
    assert due_s(place) < 5.0
    waiting = list(place.all.values())
    place.saw(Answer(waiting, [], [], [], is_paused=True), 1000.0)

    assert 19.0 < due_s(place) < 20.0

    place.saw(Answer(waiting[1:], waiting[:1], [], [], is_paused=True), 1000.0)
    assert due_s(place) < 5.0, "what runs may end"


def test_before_any_of_many_jobs_has_ended_the_service_gets_as_long_again() -> None:
    assert 39.0 < due_s(place_of(12, 2, 40.0)) < 41.0


def test_the_more_queries_are_left_the_sooner_that_is() -> None:
    assert due_s(place_of(400, 2, 100.0), spare=100.0) < 16.0


def test_while_all_wait_the_next_query_comes_when_they_have_waited_a_little_longer() -> None:
    assert due_s(place_of(12, 0, 60.0)) < 5.0
    assert 15.0 < due_s(place_of(12, 0, 1000.0)) < 25.0


def test_what_waits_keeps_the_service_busy_for_as_long_as_such_jobs_take() -> None:
    """Ten wait, two run at once, and each takes half a minute: two and a half minutes."""
    place = place_of(14, 2, 300.0, ended=2)

    assert 130.0 < due_s(place, *[30.0] * 20) < 155.0


def test_jobs_that_run_and_were_not_asked_about_are_not_counted_as_waiting() -> None:
    place = place_of(14, 2, 300.0, ended=2)
    for one in [one for line in place.begun() for one in line.all()]:
        one.line.remove(one)  # type: ignore[union-attr]  # it is in a line
        del place.all[one.number]

    assert 105.0 < due_s(place, *[30.0] * 20) < 130.0


def test_a_wide_spread_of_run_times_is_taken_with_caution() -> None:
    place = place_of(14, 2, 300.0, ended=2)

    assert due_s(place, *[4.0, 2000.0] * 10) < 40.0


def test_no_estimate_puts_a_query_off_for_longer_than_three_times_the_time_so_far() -> None:
    place = place_of(14, 2, 50.0, ended=2)

    assert due_s(place, *[1e6] * 20) < 101.0


def test_a_young_job_may_be_the_last_unless_no_queries_are_left_to_be_careful_with() -> None:
    place = place_of(20, 19, 1000.0)
    assert due_s(place, 2.0, 2000.0, spare=AMPLE) < 7.0
    assert 100.0 < due_s(place, 2.0, 2000.0, spare=NONE_LEFT) < 151.0


def test_after_an_answer_without_an_open_job_the_next_query_is_due() -> None:
    place = place_of(30, 0, 40.0, ended=10)
    place.saw(Answer([], [], [next(iter(place.all.values()))], []), 50.0)

    assert due_s(place) < 0
    assert math.isfinite(due_s(place))
