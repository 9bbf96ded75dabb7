"""What a look at the job list may rely on."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from orchestrator.domain.states import JobState
from orchestrator.runner.settings import RunnerSettings
from orchestrator.runner.settling.list_search import ListSearch
from orchestrator.testing.builders import make_job

if TYPE_CHECKING:
    from orchestrator.domain.ports import Clock
    from orchestrator.runner.settling.job_list import JobList

NOW, WALL = 500.0, 10_000.0


class _Still:
    """A clock that stands still."""

    def now(self) -> float:
        return WALL

    def monotonic(self) -> float:
        return NOW


@pytest.mark.parametrize(
    ("took_s", "sent_s"),
    [(0.2, 0.2), (50.0, 50.0), (3600.0, 60.0), (-3600.0, 60.0)],
    ids=["soon", "late", "the clock jumped ahead", "the clock jumped back"],
)
def test_a_list_has_come_as_far_as_the_request_not_as_its_answer(
    took_s: float, sent_s: float
) -> None:
    """The answer may come long after the job was accepted, and others were sent meanwhile."""
    looks = ListSearch(cast("JobList", None), cast("Clock", _Still()), RunnerSettings())
    job = make_job(
        state=JobState.SUBMITTED, job_id="j1", intent_at=WALL - took_s, submitted_at=WALL
    )

    looks.know(job, is_new=True)

    (witness,) = looks.trust(job.spec.media.place).witnesses
    assert witness.sent_at == pytest.approx(NOW - sent_s)
