"""Bounds of a run on failures and cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.states import JobState
from orchestrator.runner.budget import MIN_SAMPLE, Bounds, Budget
from orchestrator.testing.builders import make_job, make_spec

if TYPE_CHECKING:
    from orchestrator.domain.job import Job


def job(
    number: int = 1,
    state: JobState = JobState.PLANNED,
    duration_s: float | None = None,
    **changes: float | None,
) -> Job:
    spec = make_spec(number)
    return make_job(
        number,
        state=state,
        spec=replace(spec, media=replace(spec.media, duration_s=duration_s, size_bytes=None)),
        **changes,
    )


def test_without_bounds_every_job_may_be_sent() -> None:
    budget = Budget(Bounds())
    for number in range(100):
        budget.reserve(job(number))
        budget.ended(job(number, JobState.FAILED))

    assert budget.refusal(job()) is None
    assert budget.cost == 0


def test_max_failures_are_allowed_and_one_more_is_too_many() -> None:
    budget = Budget(Bounds(max_failures=2))
    for number, state in enumerate(
        [JobState.FAILED, JobState.SUCCEEDED, JobState.CANCELLED, JobState.REJECTED], 1
    ):
        assert budget.refusal(job()) is None
        budget.ended(job(number, state))
    assert budget.refusal(job()) is None

    budget.ended(job(9, JobState.FAILED))

    assert budget.refusal(job()) == "3 jobs failed, beyond max_failures 2"


def test_max_failures_may_be_zero() -> None:
    budget = Budget(Bounds(max_failures=0))
    assert budget.refusal(job()) is None
    budget.ended(job(1, JobState.FAILED))

    assert budget.refusal(job()) is not None


def test_a_share_of_failures_is_ignored_before_enough_jobs_have_ended() -> None:
    budget = Budget(Bounds(max_failure_percent=10))
    for number in range(MIN_SAMPLE - 1):
        budget.ended(job(number, JobState.FAILED))
        assert budget.refusal(job()) is None

    budget.ended(job(99, JobState.SUCCEEDED))

    assert budget.refusal(job()) == "19 of 20 jobs failed, beyond max_failures 10%"


def test_cost_is_reserved_and_corrected_by_the_real_duration() -> None:
    budget = Budget(Bounds(max_cost=10, price_per_min=1.0, guess_s=120))
    budget.reserve(job(1))  # two stems of two minutes
    assert budget.cost == 4
    budget.reserve(job(2, duration_s=60))
    assert budget.cost == 6

    budget.ended(job(1, JobState.SUCCEEDED, media_duration_s=30.0))

    assert budget.cost == 3, "1 for what was done, 2 reserved"
    budget.reserve(job(3))
    assert budget.cost == 4, "an unknown duration is now the mean of those seen"


def test_a_job_that_failed_or_was_not_accepted_costs_nothing() -> None:
    budget = Budget(Bounds(max_cost=10, price_per_min=1.0, guess_s=60))
    budget.reserve(job(1))
    budget.reserve(job(2))
    budget.release(job(1))
    budget.ended(job(2, JobState.FAILED))

    assert budget.cost == 0


def test_a_job_that_would_exceed_the_cost_is_refused_with_both_sums() -> None:
    budget = Budget(Bounds(max_cost=3, price_per_min=1.0, guess_s=60))
    budget.reserve(job(1))

    assert (
        budget.refusal(job(2))
        == "the next job would raise the cost from 2.00 to 4.00, beyond max_cost 3"
    )
    assert budget.refusal(job(3, duration_s=30)) is None


@given(
    st.lists(st.tuples(st.floats(1, 600), st.sampled_from(["ok", "fail", "return"])), max_size=40),
    st.floats(0.5, 50),
)
def test_the_reserved_cost_never_exceeds_the_bound_if_durations_are_as_given(
    jobs: list[tuple[float, str]], max_cost: float
) -> None:
    budget = Budget(Bounds(max_cost=max_cost, price_per_min=1.0))
    for number, (duration_s, outcome) in enumerate(jobs, 1):
        one = job(number, duration_s=duration_s)
        if budget.refusal(one) is None:
            budget.reserve(one)
            if outcome == "ok":
                budget.ended(
                    job(number, JobState.SUCCEEDED, duration_s, media_duration_s=duration_s)
                )
            elif outcome == "fail":
                budget.ended(job(number, JobState.FAILED, duration_s))
            else:
                budget.release(one)
        assert budget.cost <= max_cost * (1 + 1e-9)


@pytest.mark.parametrize("name", ["voice", "background"])
def test_the_cost_counts_the_requested_stems(name: str) -> None:
    spec = job().spec
    one = replace(spec, output=replace(spec.output, **{name: ""}))
    budget = Budget(Bounds(max_cost=10, price_per_min=1.0, guess_s=60))
    budget.reserve(make_job(1, spec=one))

    assert budget.cost == 1


def sized(number: int, size_bytes: int, **changes: float | None) -> Job:
    spec = make_spec(number)
    media = replace(spec.media, key=f"in/{number}.mp3", duration_s=None, size_bytes=size_bytes)
    return make_job(number, state=JobState.SUCCEEDED, spec=replace(spec, media=media), **changes)


def test_a_job_of_unknown_length_costs_what_its_size_lets_expect() -> None:
    """As in a plan; then as much more or less as the jobs that ended."""
    minute = 60 * 24_000  # bytes of mp3 at the usual rate
    budget = Budget(Bounds(max_cost=100.0, price_per_min=1.0))
    budget.reserve(sized(1, minute))
    assert budget.cost == pytest.approx(2.0)

    budget.ended(sized(1, minute, media_duration_s=180.0))
    assert budget.cost == pytest.approx(6.0)
    budget.reserve(sized(2, 2 * minute))
    assert budget.cost == pytest.approx(6.0 + 12.0)
