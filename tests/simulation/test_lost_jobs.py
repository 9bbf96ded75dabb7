"""A job that the service accepted and then lost is looked for when the user asks for it again, and made anew only if it does not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.states import JobState
from orchestrator.errors import Interruption
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Weather
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runner.result import RunResult

RETRY = {JobState.UNFINISHED}


async def lose_one(folder: Path) -> tuple[Rig, str]:
    """Six jobs, one of which the service forgets; gives its id."""
    rig = Rig(folder, weather=Weather(job_s=30, concurrency=2))
    forgotten: list[str] = []

    def forget() -> None:
        forgotten.append(next(reversed(rig.service.jobs)))
        del rig.service.jobs[forgotten[0]]

    rig.after(20, forget)
    result = await rig.run(make_specs(6))
    assert result.counts.of(JobState.UNFINISHED) == 1
    return rig, forgotten[0]


def test_a_lost_job_that_is_asked_for_again_is_made_anew_when_the_service_does_not_have_it(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, Rig, str]:
        before, forgotten = await lose_one(tmp_path / "first")
        rig = Rig(tmp_path / "second", store=before.store, service=before.service)
        return await rig.run(make_specs(6), retry=RETRY), rig, forgotten

    result, rig, forgotten = run_virtual(main())

    assert (result.counts.of(JobState.SUCCEEDED), result.counts.skipped) == (1, 5)
    assert rig.service.calls["submit"] == 7
    assert rig.service.calls["list"] > 0, "it was not looked for"
    (made,) = [job for job in rig.store.jobs.values() if job.past_job_ids]
    assert (made.past_job_ids, made.attempts, made.code, made.adopted) == (
        (forgotten,),
        2,
        "",
        False,
    )


def test_a_lost_job_that_is_in_the_list_is_taken_from_there_and_not_paid_for_again(
    tmp_path: Path,
) -> None:
    """Queries do not know it, the list does: nothing proves that it is gone."""

    async def main() -> tuple[RunResult, Rig]:
        before, forgotten = await lose_one(tmp_path / "first")
        rig = Rig(tmp_path / "second", store=before.store, service=before.service)
        has = rig.service._has
        (lost,) = [job for job in rig.store.jobs.values() if job.job_id == forgotten]
        rig.service.jobs[forgotten] = rig.service._accept(lost.spec, rig.clock.monotonic())
        rig.service._has = lambda place, job_id: (  # type: ignore[method-assign]
            job_id != rig.service.jobs[forgotten].job_id and has(place, job_id)
        )  # its queries lag
        return await rig.run(make_specs(6), retry=RETRY), rig

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.UNFINISHED) == 1
    assert rig.service.calls["submit"] == 6


def test_a_lost_job_that_turns_up_again_is_followed_to_its_end(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path / "first", weather=Weather(job_s=30, concurrency=2))
        has, hidden = rig.service._has, set[str]()
        rig.service._has = lambda place, job_id: job_id not in hidden and has(place, job_id)  # type: ignore[method-assign]  # for queries
        rig.after(20, lambda: hidden.add(next(reversed(rig.service.jobs))))
        assert (await rig.run(make_specs(6))).counts.of(JobState.UNFINISHED) == 1
        hidden.clear()
        again = Rig(tmp_path / "second", store=rig.store, service=rig.service)
        return await again.run(make_specs(6), retry=RETRY), again

    result, rig = run_virtual(main())

    assert (result.counts.of(JobState.SUCCEEDED), result.counts.skipped) == (1, 5)
    assert rig.service.calls["submit"] == 6
    assert [row["code"] for row in rig.rows()] == [""] * 6


def test_a_search_for_a_lost_job_goes_on_in_the_next_visit(tmp_path: Path) -> None:
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
