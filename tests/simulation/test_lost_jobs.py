"""On retry, a job that the service lost is looked up first, and resent only if it is absent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.states import JobState
from orchestrator.errors import Interruption
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runner.result import RunResult

RETRY = {JobState.UNFINISHED}


async def lose_one(folder: Path) -> tuple[Rig, str]:
    """Run six jobs of which the service loses one; return the rig and the lost id."""
    rig = Rig(folder, weather=Weather(job_s=30, concurrency=2))
    lost: list[str] = []

    def lose() -> None:
        lost.append(next(reversed(rig.service.jobs)))
        del rig.service.jobs[lost[0]]

    rig.after(20, lose)
    result = await rig.run(make_specs(6))
    assert result.counts.of(JobState.UNFINISHED) == 1
    return rig, lost[0]


def test_a_lost_job_is_resent_on_retry_if_the_service_does_not_have_it(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, Rig, str]:
        before, lost_id = await lose_one(tmp_path / "first")
        rig = Rig(tmp_path / "second", store=before.store, service=before.service)
        return await rig.run(make_specs(6), retry=RETRY), rig, lost_id

    result, rig, lost_id = run_virtual(main())

    assert (result.counts.of(JobState.SUCCEEDED), result.counts.skipped) == (1, 5)
    assert rig.service.calls["submit"] == 7
    assert rig.service.calls["list"] > 0, "it was not looked up"
    (made,) = [job for job in rig.store.jobs.values() if job.past_job_ids]
    assert (made.past_job_ids, made.attempts, made.code, made.adopted) == (
        (lost_id,),
        2,
        "",
        False,
    )


def test_a_lost_job_that_is_in_the_list_is_adopted_and_not_paid_for_again(
    tmp_path: Path,
) -> None:
    """Queries do not know the job but the list does, so its absence is not proven."""

    async def main() -> tuple[RunResult, Rig]:
        before, lost_id = await lose_one(tmp_path / "first")
        rig = Rig(tmp_path / "second", store=before.store, service=before.service)
        has = rig.service._has
        (lost,) = [job for job in rig.store.jobs.values() if job.job_id == lost_id]
        listed = rig.service._accept(lost.spec, rig.clock.monotonic())
        rig.service.jobs[lost_id] = listed
        replace_method(  # queries lag
            rig.service, "_has", lambda place, id_: id_ != listed.job_id and has(place, id_)
        )
        return await rig.run(make_specs(6), retry=RETRY), rig

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.UNFINISHED) == 1
    assert rig.service.calls["submit"] == 6


def test_a_lost_job_that_turns_up_again_is_tracked_to_its_end(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path / "first", weather=Weather(job_s=30, concurrency=2))
        has, hidden = rig.service._has, set[str]()
        replace_method(
            rig.service, "_has", lambda place, id_: id_ not in hidden and has(place, id_)
        )
        rig.after(20, lambda: hidden.add(next(reversed(rig.service.jobs))))
        assert (await rig.run(make_specs(6))).counts.of(JobState.UNFINISHED) == 1
        hidden.clear()
        again = Rig(tmp_path / "second", store=rig.store, service=rig.service)
        return await again.run(make_specs(6), retry=RETRY), again

    result, rig = run_virtual(main())

    assert (result.counts.of(JobState.SUCCEEDED), result.counts.skipped) == (1, 5)
    assert rig.service.calls["submit"] == 6
    assert [row["code"] for row in rig.rows()] == [""] * 6


def test_the_search_for_a_lost_job_continues_in_the_next_run(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, RunResult, Rig]:
        before, _ = await lose_one(tmp_path / "first")
        rig = Rig(tmp_path / "second", store=before.store, service=before.service)
        rig.after(20, lambda: rig.stop(Interruption("signal")))
        stopped = await rig.run(make_specs(6), retry=RETRY)
        again = Rig(tmp_path / "second", store=rig.store, service=rig.service)
        return stopped, await again.run(make_specs(6)), again

    stopped, result, rig = run_virtual(main())

    assert not stopped.is_complete
    assert (result.counts.of(JobState.SUCCEEDED), result.counts.skipped) == (1, 5)
    assert rig.service.calls["submit"] == 7
