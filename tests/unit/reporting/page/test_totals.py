"""Totals of a page, and the sentence at its top."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.domain.states import JobState
from orchestrator.reporting.page.totals import Tallies, facts_of
from tests.unit.reporting.page.samples import make_row

T0 = 1_795_309_200.0


def totals(*states: JobState) -> dict[str, Any]:
    tallies = Tallies()
    rows = [
        make_row(n, state, submitted_at=T0 + n, finished_at=T0 + n + 5, media_duration_s=2.5)
        for n, state in enumerate(states)
    ]
    tallies.add(rows)
    return tallies.as_dict()


def facts(found: dict[str, Any], **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "manifest": "nightly",
        "run": "nightly-1",
        "entry": {},
        "spending": {},
        "still": {"open": 0, "left": 0},
    }
    return facts_of(found, **{**given, **changes})


def test_rows_are_counted_and_placed_in_time() -> None:
    found = totals(JobState.SUCCEEDED, JobState.FAILED, JobState.SUCCEEDED)

    assert found["jobs"] == 3
    assert found["states"]["succeeded"] == 2
    assert found["media_s"] == 7.5
    assert found["throughput"]["from"] == T0
    assert found["throughput"]["accepted"] == [1, 1, 1, 0, 0, 0, 0, 0]
    assert found["throughput"]["succeeded"] == [0, 0, 0, 0, 0, 1, 0, 1]
    assert found["throughput"]["failed"] == [0, 0, 0, 0, 0, 0, 1, 0]


def test_jobs_of_an_earlier_run_count_but_not_in_the_time_of_this_one() -> None:
    tallies = Tallies()
    tallies.add([make_row(1, finished_at=T0, skipped=True)])

    assert tallies.as_dict()["states"]["skipped"] == 1
    assert tallies.as_dict()["throughput"] is None


@pytest.mark.parametrize(
    ("states", "changes", "verdict", "text"),
    [
        ([JobState.SUCCEEDED] * 2, {}, "good", "All 2 jobs succeeded."),
        ([JobState.SUCCEEDED], {}, "good", "The job succeeded."),
        ([], {}, "good", "There was nothing to do."),
        ([JobState.FAILED, JobState.SUCCEEDED], {}, "bad", "1 of 2 jobs did not succeed."),
        (
            [JobState.SUCCEEDED],
            {"still": {"open": 2, "left": 0}},
            "open",
            "2 jobs still open, 1 job ended.",
        ),
        (
            [JobState.SUCCEEDED],
            {"entry": {"stopped": "the budget is spent"}},
            "open",
            "Stopped early; the 1 job that ended went well.",
        ),
        ([JobState.FAILED], {"only": ["failed"]}, "bad", "1 job, only failed ones."),
    ],
)
def test_the_sentence_at_the_top_says_how_it_went(
    states: list[JobState], changes: dict[str, Any], verdict: str, text: str
) -> None:
    found = facts(totals(*states), **changes)

    assert (found["verdict"], found["verdict_text"]) == (verdict, text)


def test_cost_and_calls_are_those_of_the_summary() -> None:
    spending = {"cost": {"actual": 1234.5, "estimated": None, "currency": "CNY"}}

    found = facts(totals(), spending=spending, entry={"calls": {"submits": 3, "heads": 4}})

    assert (found["cost_value"], found["cost_text"]) == (1234.5, "1,234.50 CNY")
    assert found["calls_total"] == 7


def test_what_is_not_known_is_not_shown_as_nothing() -> None:
    found = facts(totals())

    assert (found["cost_value"], found["calls_total"], found["elapsed_s"]) == (None, None, None)
    assert found["cost_text"] == "\N{EN DASH}"
