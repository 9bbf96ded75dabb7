"""Jobs that cannot be requested: rejected with a row, and never sent, whatever happened before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.commands.exit_codes import ExitCode, of_result
from orchestrator.domain.spec import JobKey, JobSpec, Refusal
from orchestrator.domain.states import JobState
from orchestrator.testing.builders import make_holder, make_specs
from orchestrator.testing.loop import run_virtual
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runner.result import RunResult


def refused(number: int, reason: str = "wrong") -> JobSpec:
    (spec,) = make_specs(1, first=number)
    return replace(spec, key=JobKey(f"r1.key{number}"), refusal=Refusal("InvalidRow", reason))


@pytest.mark.parametrize("canary", [0, 2])
def test_refused_jobs_are_rejected_and_the_others_are_done(tmp_path: Path, canary: int) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path)
        good = make_specs(4)
        feed = [refused(10), *good[:2], refused(11), refused(10), *good[2:]]
        return await rig.run(feed[:3], feed[3:], canary=canary), rig

    result, rig = run_virtual(main())

    assert result.is_over
    assert of_result(result) is ExitCode.JOBS_FAILED
    assert sorted(job.spec.user_data for job in rig.service.jobs.values()) == ["1", "2", "3", "4"]
    rows = {row["user_data"]: row for row in rig.rows()}
    assert len(rows) == len(rig.rows()) == 6
    assert {name: rows[name]["state"] for name in ("10", "11")} == {
        "10": "rejected",
        "11": "rejected",
    }
    assert (rows["10"]["code"], rows["10"]["message"]) == ("InvalidRow", "wrong")
    assert (rows["10"]["attempts"], rows["10"]["job_id"]) == (0, "")


@pytest.mark.parametrize("leftovers", ["keep", "finish", "drop"])
@pytest.mark.parametrize("is_named_again", [True, False])
def test_a_process_that_died_before_the_rejection_leaves_nothing_to_send(
    tmp_path: Path, leftovers: Any, is_named_again: bool
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        before = Rig(tmp_path)
        await before.ledger.acquire(make_holder())
        run = await before.ledger.begin_run("r", 0.0, str(tmp_path / "r.jsonl"))
        await before.ledger.add(run, [refused(10)])
        await before.ledger.close()
        rig = Rig(tmp_path, store=before.store)
        named = [refused(10, "still wrong")] if is_named_again else []
        return await rig.run([*make_specs(1), *named], leftovers=leftovers), rig

    result, rig = run_virtual(main())

    assert result.is_over
    assert [job.spec.user_data for job in rig.service.jobs.values()] == ["1"]
    state = rig.store.jobs[JobKey("r1.key10")].state
    if is_named_again or leftovers == "finish":
        assert state is JobState.REJECTED
    else:
        assert state in {JobState.PLANNED, JobState.CANCELLED}
