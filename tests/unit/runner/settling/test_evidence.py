"""Matching of listed jobs with the jobs in doubt."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.remote import RemoteJob, RemoteState
from orchestrator.domain.states import JobState
from orchestrator.runner.settling.evidence import attempts_of
from orchestrator.testing.builders import make_job


def doubt(number: int = 1, past: tuple[str, ...] = ()) -> Doubt:
    return Doubt(make_job(number, state=JobState.IN_DOUBT, past_job_ids=past), 0.0, 0.0)


def listed(job_id: str, user_data: str, created_at: float | None = 10.0) -> RemoteJob:
    return RemoteJob(job_id, RemoteState.SUBMITTED, user_data=user_data, created_at=created_at)


KEY = doubt().job.spec.key


def test_a_job_is_found_by_its_key_with_or_without_the_users_own_text() -> None:
    plain, with_text = listed("j1", KEY), listed("j1", f"{KEY} my own text")

    assert match([doubt()], [plain]) == {1: plain}
    assert match([doubt()], [with_text]) == {1: with_text}


def test_a_key_that_contains_ours_belongs_to_another_job() -> None:
    others = [
        listed("j1", f"{KEY}x"),
        listed("j2", f"x{KEY}"),
        listed("j3", f"text {KEY}"),
        listed("j4", ""),
        listed("j5", KEY.upper()),
    ]

    assert match([doubt()], others) == {}


def test_an_earlier_attempt_is_never_taken_for_the_current_one() -> None:
    old, new = listed("j1", KEY, 1.0), listed("j2", KEY, 2.0)

    assert match([doubt(past=("j1",))], [old]) == {}
    assert match([doubt(past=("j1",))], [old, new]) == {1: new}


def test_the_oldest_of_several_jobs_is_taken() -> None:
    first, second, third = listed("j9", KEY, 5.0), listed("j1", KEY, 6.0), listed("j0", KEY, 5.5)

    assert match([doubt()], [third, second, first]) == {1: first}


def test_the_choice_between_jobs_without_dates_does_not_depend_on_the_order_of_the_list() -> None:
    one, two = listed("j1", KEY, None), listed("j2", KEY, None)

    assert match([doubt()], [one, two]) == match([doubt()], [two, one]) == {1: one}


@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["", "text"])), max_size=30),
    st.sets(st.integers(1, 6)),
)
def test_exactly_the_jobs_in_doubt_with_a_listed_key_are_found(
    rows: list[tuple[int, str]], wanted: set[int]
) -> None:
    remotes = [
        listed(f"j{at}", make_job(number).spec.key + (f" {text}" if text else ""), float(at))
        for at, (number, text) in enumerate(rows)
    ]

    found = match([doubt(number) for number in sorted(wanted)], remotes)

    assert set(found) == wanted & {number for number, _ in rows}
    assert all(
        remote.user_data.split(" ")[0] == make_job(number).spec.key
        for number, remote in found.items()
    )
