"""Proofs that a list gives about a job in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.remote import RemoteJob, RemoteState
from orchestrator.domain.states import JobState
from orchestrator.runner.settling.evidence import (
    ADOPT_MARGIN_S,
    HOPELESS_S,
    Trust,
    Witness,
    attempts_of,
    could_be,
)
from orchestrator.testing.builders import make_job

if TYPE_CHECKING:
    from orchestrator.domain.job import Job

SENT_AT = 10_000.0


def doubt(number: int = 1, past: tuple[str, ...] = ()) -> Job:
    return make_job(number, state=JobState.IN_DOUBT, past_job_ids=past, intent_at=SENT_AT)


def listed(job_id: str, user_data: str, created_at: float | None = SENT_AT) -> RemoteJob:
    return RemoteJob(
        job_id,
        RemoteState.SUBMITTED,
        user_data=user_data,
        created_at=created_at,
        input_object=doubt().spec.media.key,
    )


KEY = doubt().spec.key


@pytest.mark.parametrize(
    "echo",
    [
        KEY,
        f"{KEY} my own text",
        f"\n   {KEY}\n",
        f"{KEY}\tmy text",
        f"{KEY}+my+text",
        KEY.upper(),
        f"  {KEY.upper()} MY TEXT",
    ],
)
def test_a_job_is_found_by_its_key_however_it_is_echoed(echo: str) -> None:
    assert attempts_of(doubt(), [listed("j1", echo)]) == [listed("j1", echo)]


@pytest.mark.parametrize("echo", [f"{KEY}x", f"x{KEY}", f"text {KEY}", "", KEY[:-1]])
def test_text_that_is_not_the_key_is_not_ours(echo: str) -> None:
    assert attempts_of(doubt(), [listed("j1", echo)]) == []


def test_an_earlier_attempt_is_never_taken_for_the_current_one() -> None:
    old, new = listed("j1", KEY, 1.0), listed("j2", KEY, 2.0)

    assert attempts_of(doubt(past=("j1",)), [old]) == []
    assert attempts_of(doubt(past=("j1",)), [old, new]) == [new]


def failed(job_id: str, created_at: float | None) -> RemoteJob:
    return listed(job_id, KEY, created_at)._replace(state=RemoteState.FAILED)


def test_the_newest_of_several_jobs_comes_first_and_a_failed_one_last() -> None:
    """The newest is the last to write the stems."""
    old, new, middle = listed("j9", KEY, 5.0), listed("j1", KEY, 6.0), listed("j0", KEY, 5.5)
    lost, lost_later = failed("j2", SENT_AT + 7.0), failed("j3", SENT_AT + 8.0)

    ordered = [new, middle, old, lost_later, lost]
    assert attempts_of(doubt(), [middle, lost, new, lost_later, old]) == ordered


@pytest.mark.parametrize("state", [RemoteState.FAILED, RemoteState.CANCELLED])
def test_a_failed_job_from_before_the_intent_is_not_its_answer(state: RemoteState) -> None:
    """A ledger that is lost does not know its earlier attempts."""
    long_ago = failed("j1", SENT_AT - ADOPT_MARGIN_S - 1)._replace(state=state)
    just_before = failed("j2", SENT_AT - ADOPT_MARGIN_S + 1)._replace(state=state)

    assert attempts_of(doubt(), [long_ago]) == []
    assert attempts_of(doubt(), [just_before]) == [just_before], "the clocks may differ"
    assert attempts_of(doubt(), [failed("j3", None)]) == [failed("j3", None)]
    assert not could_be(long_ago, doubt(), ())


def test_a_living_job_from_before_the_intent_is_ours_all_the_same() -> None:
    """It exists and is paid for, whichever request made it."""
    long_ago = listed("j1", KEY, SENT_AT - ADOPT_MARGIN_S - 1)

    assert attempts_of(doubt(), [long_ago]) == [long_ago]


def test_the_choice_between_jobs_without_dates_does_not_depend_on_the_order_of_the_list() -> None:
    one, two = listed("j1", KEY, None), listed("j2", KEY, None)

    assert attempts_of(doubt(), [one, two]) == attempts_of(doubt(), [two, one]) == [two, one]


@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["", "text"])), max_size=30),
    st.integers(1, 6),
)
def test_exactly_the_listed_jobs_with_its_key_are_found(
    rows: list[tuple[int, str]], wanted: int
) -> None:
    remotes = [
        listed(f"j{at}", f"{doubt(number).spec.key} {text}", float(at))
        for at, (number, text) in enumerate(rows)
    ]
    expected = [
        remote for remote, (number, _) in zip(remotes, rows, strict=True) if number == wanted
    ]

    assert attempts_of(doubt(wanted), remotes) == expected[::-1]


@pytest.mark.parametrize("echo", ["", "batch=7", KEY[:-3], "<![CDATA["])
def test_a_job_of_the_same_object_without_a_readable_key_could_be_ours(echo: str) -> None:
    assert could_be(listed("j1", echo), doubt(), ())
    assert could_be(listed("j1", echo, None), doubt(), ())
    assert could_be(listed("j1", echo)._replace(input_object=""), doubt(), ())


def test_a_job_that_can_be_told_apart_is_not_ours() -> None:
    twin = listed("j1", "")

    assert not could_be(twin, doubt(), {"j1"}), "known to be another job"
    assert not could_be(twin, doubt(past=("j1",)), ())
    assert not could_be(twin._replace(input_object="incoming/other.mp3"), doubt(), ())
    assert not could_be(twin._replace(user_data=doubt(2).spec.key), doubt(), ())
    assert not could_be(listed("j1", "", SENT_AT - ADOPT_MARGIN_S - 1), doubt(), ())


def witness(number: int, sent_at: float) -> Witness:
    spec = doubt(number).spec
    return Witness(f"j{number}", spec.key, spec.media.key, SENT_AT, sent_at)


def shown(number: int, user_data: str | None = None) -> RemoteJob:
    spec = doubt(number).spec
    return RemoteJob(f"j{number}", RemoteState.RUNNING, user_data=user_data or spec.key)


def test_an_accepted_job_that_is_not_listed_yet_shows_how_long_the_list_lags() -> None:
    trust = Trust()

    assert trust.settle_s(30) == 30
    assert not trust.compare([witness(1, 100.0)], [], 140.0)
    assert trust.settle_s(30) == 80
    assert trust.compare([witness(1, 100.0)], [shown(1)], 160.0)
    assert trust.settle_s(30) == 120, "it may have taken until now, and the next may as well"
    assert trust.compare([witness(1, 100.0)], [shown(1)], 250.0)
    assert trust.settle_s(30) == 120


def test_a_witness_gets_the_date_that_the_list_shows() -> None:
    """This machine's clock may have jumped while it was accepted."""
    known = witness(1, 0.0)
    Trust().compare([known], [shown(1)._replace(created_at=SENT_AT - 3600)], 1.0)

    assert known.accepted_at == SENT_AT - 3600


def test_the_lag_is_not_known_while_a_late_job_was_not_seen_again() -> None:
    trust = Trust()
    trust.witnesses.extend([witness(1, 100.0), witness(2, 101.0)])
    trust.compare([witness(1, 100.0)], [], 127.0)
    trust.compare([witness(2, 101.0)], [shown(2)], 155.0)
    assert trust.settle_s(10, since=100.5) == 4 * 54

    late = trust.late_witness(160.0)
    assert late == witness(1, 100.0)
    trust.compare([late], [shown(1)], 160.0)
    assert trust.settle_s(10, since=100.5) == 120
    assert trust.late_witness(160.0) is None


def test_a_job_that_is_never_seen_again_is_not_waited_for() -> None:
    trust = Trust()
    trust.witnesses.append(witness(1, 100.0))
    trust.compare([witness(1, 100.0)], [], 127.0)

    assert trust.late_witness(100.0 + HOPELESS_S) is None
    assert trust.settle_s(10) == 54


def test_a_filter_that_fails_shows_no_lag() -> None:
    trust = Trust()
    trust.compare([witness(1, 0.0)], [], 200.0)
    trust.forget_lag()
    trust.compare([witness(1, 0.0)], [shown(1)], 210.0)

    assert trust.settle_s(30) == 30


def test_a_job_that_is_never_listed_is_not_a_lag() -> None:
    trust = Trust()
    trust.compare([witness(1, 0.0)], [], HOPELESS_S)

    assert trust.lag_s == 0


def test_keys_are_readable_if_a_known_job_is_listed_with_its_key() -> None:
    trust = Trust()
    assert trust.has_keys is None
    trust.compare([witness(1, 0.0)], [shown(1)], 1.0)
    assert trust.has_keys
    trust.compare([witness(2, 0.0)], [shown(2, "cut")], 1.0)
    assert trust.has_keys is False
    trust.compare([witness(1, 0.0)], [shown(1)], 1.0)
    assert trust.has_keys is False, "one unreadable key is enough"


def test_a_known_job_that_carries_another_key_says_nothing_about_keys() -> None:
    trust = Trust()
    trust.compare([witness(1, 0.0)], [shown(1, doubt(2).spec.key)], 1.0)

    assert trust.has_keys is None


def test_the_latest_witness_that_is_old_enough_is_asked_for() -> None:
    trust = Trust()
    assert trust.witness(100.0, 15.0) is None
    trust.witnesses.extend([witness(1, 10.0), witness(2, 80.0), witness(3, 99.0)])

    assert trust.witness(100.0, 15.0) == witness(2, 80.0)
    assert trust.witness(100.0, 500.0) == witness(1, 10.0), "else the oldest"
    trust.forget(witness(2, 0.0).key)
    assert trust.witness(100.0, 15.0) == witness(1, 10.0)
