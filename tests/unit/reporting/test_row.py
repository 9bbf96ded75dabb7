"""A row of the report: its instants, its stems and its schema."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.job import StemFile
from orchestrator.domain.run import Run
from orchestrator.domain.spec import Output, Stem
from orchestrator.domain.states import TERMINAL, JobState
from orchestrator.reporting.row import instant, line, row, row_schema
from orchestrator.testing.builders import make_job, make_spec

RUN = Run("r-20261122T010000Z", 1, 0.0, "r.jsonl")


@pytest.mark.parametrize(
    ("submitted", "started", "finished", "expected"),
    [
        (100.7, 100.0, 101.0, "1970-01-01T00:01:40.000Z"),
        (100.7, None, 100.0, "1970-01-01T00:01:40.000Z"),
        (100.7, 101.0, 102.0, "1970-01-01T00:01:40.700Z"),
        (100.7, 98.0, 99.0, "1970-01-01T00:01:38.000Z"),
        (100.7, None, None, "1970-01-01T00:01:40.700Z"),
        (None, None, 100.0, None),
    ],
)
def test_no_job_ends_before_it_was_submitted(
    submitted: float | None, started: float | None, finished: float | None, expected: str | None
) -> None:
    job = make_job(1)
    job.submitted_at, job.started_at, job.finished_at = submitted, started, finished

    made = row(job, RUN)
    assert made["submitted_at"] == expected


T0 = 1_795_309_200.0
RUN = Run("nightly-20261122T010000Z", 1, T0, "report.jsonl")
FILES = (
    StemFile(Stem.BACKGROUND, "s/b.mp3", "0" * 32, 12, verified=True),
    StemFile(Stem.VOICE, "s/v.mp3"),
)


@given(
    st.floats(-1e9, 4e9)
    | st.integers(-10, 2_000_000_000).map(float)
    | st.integers(0, 4_000_000_000_000_000).map(lambda us: us / 1e6)
)
def test_an_instant_is_formatted_to_the_millisecond_as_datetime_does(seconds: float) -> None:
    expected = (
        datetime.fromtimestamp(seconds, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )

    assert instant(seconds) == expected


@pytest.mark.parametrize("state", sorted(TERMINAL))
@pytest.mark.parametrize("skipped", [False, True])
def test_every_row_matches_the_schema(state: JobState, skipped: bool) -> None:
    job = make_job(
        state=state,
        skipped=skipped,
        job_id="j1",
        attempts=2,
        submitted_at=T0,
        finished_at=T0 + 5.25,
        files=FILES,
    )

    found = json.loads(line(job, RUN))

    jsonschema.validate(found, row_schema(), format_checker=jsonschema.FormatChecker())
    assert found["state"] == ("skipped" if skipped else state.value)
    assert found["finished_at"] == "2026-11-22T01:00:05.250Z"
    assert found["user_data"] == "1", "only the user's own part"


def test_the_schema_refuses_a_row_with_missing_unknown_or_wrong_values() -> None:
    good = row(make_job(state=JobState.SUCCEEDED, files=FILES), RUN)
    schema = row_schema()
    for name in good:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({key: value for key, value in good.items() if key != name}, schema)
    changes: tuple[dict[str, Any], ...] = (
        {"extra": 1},
        {"state": "planned"},
        {"attempts": -1},
        {"level": 3},
        {"files": [{}]},
    )
    for change in changes:
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **change}, schema)


def test_a_row_names_the_stems_as_made_or_else_as_requested() -> None:
    output = Output(
        "b-1250000000",
        "ap-x",
        voice="s/v.${ext}",
        background="s/b.${ext}",
        bass="s/${jobid}.${ext}",
    )
    job = make_job(spec=make_spec(output=output), state=JobState.SUCCEEDED, files=FILES)

    assert row(job, RUN)["output"] == {
        "bucket": "b-1250000000", "region": "ap-x",
        "voice": "s/v.mp3", "background": "s/b.mp3", "bass": "s/${jobid}.${ext}",
    }  # fmt: skip


def test_instants_are_rfc_3339_in_utc_with_milliseconds() -> None:
    assert instant(None) is None
    assert instant(0) == "1970-01-01T00:00:00.000Z"
    assert instant(T0 + 0.1239) == "2026-11-22T01:00:00.123Z"
