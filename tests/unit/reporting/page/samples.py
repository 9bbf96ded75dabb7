"""Rows and facts for tests of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.domain.job import StemFile
from orchestrator.domain.run import Run
from orchestrator.domain.spec import Stem
from orchestrator.domain.states import JobState
from orchestrator.reporting.row import Row, row
from orchestrator.testing.builders import make_job

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN = Run("nightly-20261122T010000Z", 1, 1_795_309_200.0, "nightly.jsonl")
FACTS: Mapping[str, Any] = {
    "run": RUN.id,
    "run_text": RUN.id,
    "manifest": "nightly",
    "title": "nightly: All jobs succeeded.",
    "verdict": "good",
    "verdict_text": "All jobs succeeded.",
    "open": 0,
    "left": 0,
    "opened_at": None,
    "finished_at": None,
    "elapsed_s": 9.0,
    "minutes": None,
    "cost": None,
    "by_level": {},
    "by_source": {},
    "currency": "",
    "cost_value": None,
    "cost_text": "free",
    "calls": None,
    "calls_total": None,
    "pace": None,
    "notes": [],
    "written_text": "2026-11-22T01:00:00.000Z",
    "is_linked": False,
}


def make_row(number: int, state: JobState = JobState.SUCCEEDED, **changes: Any) -> Row:
    """Return the row of a job; ``changes`` are fields of ``Job``."""
    files = (StemFile(Stem.VOICE, f"stems/{number}/voice.mp3", "ab", 7, verified=True),)
    has_files = state is JobState.SUCCEEDED
    return row(make_job(number, state=state, files=files if has_files else (), **changes), RUN)
