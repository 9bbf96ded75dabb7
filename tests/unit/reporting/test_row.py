"""Instants of a row."""

from __future__ import annotations

import pytest

from orchestrator.domain.run import Run
from orchestrator.reporting.row import row
from orchestrator.testing.builders import make_job

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
