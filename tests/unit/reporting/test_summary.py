"""The summary of a run: beside its report, and as text of 80 columns."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.run import CanaryOutcome, Counts, Run
from orchestrator.domain.states import JobState
from orchestrator.errors import ReportError
from orchestrator.reporting.summary import Calls, Summary, summary_path, summary_text, write_summary

if TYPE_CHECKING:
    from pathlib import Path


def test_the_summary_lists_every_state_in_80_columns() -> None:
    jobs = dict.fromkeys(("skipped", *JobState), 1_234_567)
    text = summary_text(
        {
            "run": "nightly-20261122T010000Z",
            "jobs": {"total": 99, **jobs},
            "calls": {"submits": 1_234_567, "queries": 2, "lists": 3, "heads": 4},
            "elapsed_s": 3661.4,
            "report": "reports/nightly.jsonl",
        }
    )

    assert "99 jobs in 1:01:01" in text
    assert all(f"  {state.replace('_', ' '):<11}" in text for state in JobState)
    assert all(len(line) <= 80 for line in text.splitlines()), max(text.splitlines(), key=len)


def test_the_summary_omits_empty_states_except_succeeded() -> None:
    text = summary_text(
        {
            "run": "r",
            "jobs": {"total": 3, "skipped": 0},
            "calls": {},
            "elapsed_s": 0,
            "report": "r.jsonl",
        }
    )

    assert [line.split()[0] for line in text.splitlines() if line.startswith("  ")] == ["succeeded"]


@pytest.mark.parametrize(
    ("canary", "line"),
    [
        (CanaryOutcome("passed", 3, 3), "canary: passed (3 of 3 succeeded)"),
        (
            CanaryOutcome("passed", 3, 1),
            "canary: passed (1 job, all that there were, succeeded)",
        ),
        (CanaryOutcome("failed", 3, 1, "no"), "canary: failed (1 of 3 succeeded)"),
        (CanaryOutcome("pending", 3, 1), "canary: pending (1 of 3 succeeded)"),
        (CanaryOutcome("not_needed", 3, 0), "canary: not needed"),
    ],
)
def test_the_summary_shows_what_is_left_and_the_canary(canary: CanaryOutcome, line: str) -> None:
    summary = {
        "run": "r",
        "jobs": {"total": 1},
        "left": 12,
        "canary": dataclasses.asdict(canary),
        "calls": {},
        "elapsed_s": 0,
        "report": "r.jsonl",
    }
    lines = summary_text(summary).splitlines()

    assert line in lines
    assert any(re.fullmatch(r"  left +12  of earlier runs.*", each) for each in lines)
    assert all(len(each) <= 80 for each in lines)


def test_a_run_without_jobs_says_so() -> None:
    jobs = {"total": 0, **{state.value: 0 for state in JobState}}

    summary = {
        "run": "r",
        "jobs": jobs,
        "calls": {"submits": 0},
        "elapsed_s": 0,
        "report": "r.jsonl",
    }

    assert "nothing to do" in summary_text({**summary, "complete": True})
    assert "nothing to do" not in summary_text({**summary, "complete": False}), (
        "an error kept the manifest from being read"
    )


T0 = 1_795_309_200.0
RUN = Run("nightly-20261122T010000Z", 1, T0, "report.jsonl")


def test_the_summary_is_beside_the_report(tmp_path: Path) -> None:
    assert summary_path(tmp_path / "a.jsonl") == tmp_path / "a.summary.json"
    assert summary_path(tmp_path / "a.b") == tmp_path / "a.b.summary.json"


def test_an_unwritable_summary_is_reported_and_leaves_no_temporary_files(tmp_path: Path) -> None:
    path = tmp_path / "a.summary.json"
    (path / "in the way").mkdir(parents=True)

    with pytest.raises(ReportError, match=r"Cannot write the summary .*a\.summary\.json"):
        write_summary(path, {"run": "second"})
    assert [one.name for one in tmp_path.iterdir()] == ["a.summary.json"]


def test_a_summary_replaces_the_previous_one_completely(tmp_path: Path) -> None:
    path = tmp_path / "a.summary.json"
    write_summary(path, {"run": "first", "more": "x" * 1000})
    write_summary(path, {"run": "second"})

    assert json.loads(path.read_bytes()) == {"run": "second"}
    assert [one.name for one in tmp_path.iterdir()] == ["a.summary.json"]


def test_the_summary_counts_every_state_and_says_if_the_run_is_complete() -> None:
    counts = Counts({JobState.SUCCEEDED: 2, JobState.FAILED: 1, JobState.IN_DOUBT: 1}, skipped=3)
    made = Summary(
        RUN,
        counts,
        Calls(4, 3, 2, 1),
        is_complete=False,
        exit_code=7,
        stopped="",
        started_at=T0,
        ended_at=T0 + 1.5,
    ).as_dict()

    assert (
        made["jobs"]["total"]
        == sum(number for name, number in made["jobs"].items() if name != "total")
        == 7
    )
    assert (made["left"], made["canary"]) == (0, None)
    assert made["complete"] is False
    assert made["elapsed_s"] == 1.5
    assert made["calls"] == {"submits": 4, "queries": 3, "lists": 2, "heads": 1}
    assert set(made["jobs"]) == {"total", "skipped", *JobState}


def test_the_summary_counts_what_is_left_beside_the_jobs_of_the_run() -> None:
    made = Summary(
        RUN,
        Counts({JobState.SUCCEEDED: 2}, left=5),
        Calls(),
        is_complete=True,
        exit_code=0,
        stopped="",
        started_at=T0,
        ended_at=T0,
        canary=CanaryOutcome("failed", 3, 1, "a.mp3 failed"),
    ).as_dict()

    assert (made["jobs"]["total"], made["left"]) == (2, 5)
    assert made["canary"] == {
        "result": "failed",
        "jobs": 3,
        "succeeded": 1,
        "reason": "a.mp3 failed",
    }
