"""Finished jobs whose stems are missing are redone on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.job import STEM_MISSING
from orchestrator.domain.states import JobState
from orchestrator.testing.builders import make_spec
from tests.contract.ledger.test_add import T0, begin, earlier

if TYPE_CHECKING:
    from orchestrator.domain.ports import Ledger


async def test_a_succeeded_job_is_queried_again_before_it_is_made_again(
    ledger: Ledger,
) -> None:
    done = await earlier(ledger, JobState.SUCCEEDED)
    run = await begin(ledger, T0 + 60)
    [job] = await ledger.add(run, [make_spec()], {JobState.SUCCEEDED})

    assert (job.state, job.skipped, job.run_no, job.row) == (JobState.SUBMITTED, False, 2, 0)
    assert (job.job_id, job.past_job_ids, job.code) == (done.job_id, (), STEM_MISSING)
    assert await ledger.ready(run, 0, job.spec.share, 9, (), T0 + 60) == []
