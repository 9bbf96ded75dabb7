"""A canary, in virtual time: a few jobs must succeed before others are sent."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.commands.exit_codes import ExitCode, of_result
from orchestrator.domain.events import CanaryChosen, CanaryPassed
from orchestrator.domain.spec import Origin
from orchestrator.domain.states import JobState
from orchestrator.errors import ApiAnswer, Interruption, Rejected
from orchestrator.runner.budget import Bounds, Budget
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_spec, make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from orchestrator.domain.remote import ObjectHead
    from orchestrator.domain.spec import JobSpec, Place
    from orchestrator.runner.result import RunResult

SETTINGS = RunnerSettings(reply_timeout_s=10.0, settle_s=20.0)


def calm(**changes: Any) -> Weather:
    return Weather(job_s=5, **changes)


def play(main: Callable[[], Awaitable[tuple[RunResult, Rig]]]) -> tuple[RunResult, Rig]:
    return run_virtual(main())  # type: ignore[arg-type]  # a coroutine, all the same


def names(rig: Rig) -> list[str]:
    """Return the jobs that the service accepted, in order."""
    jobs = sorted(rig.service.jobs.values(), key=lambda job: job.accepted_at)
    return [job.spec.user_data for job in jobs]


def outcome(result: RunResult) -> tuple[str, int]:
    assert result.canary is not None
    return result.canary.result, result.canary.succeeded


def chosen(rig: Rig) -> list[tuple[str, ...]]:
    return [event.objects for event in rig.recorder.events if isinstance(event, CanaryChosen)]


def test_the_rest_is_sent_after_the_canary_has_succeeded(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=SETTINGS, weather=calm())
        return await rig.run(make_specs(12), canary=3), rig

    result, rig = play(main)

    assert of_result(result) is ExitCode.OK
    assert outcome(result) == ("passed", 3)
    jobs = sorted(rig.service.jobs.values(), key=lambda job: job.accepted_at)
    assert max(job.ended_at or 0.0 for job in jobs[:3]) <= jobs[3].accepted_at
    assert len(jobs) == 12
    assert [event for event in rig.recorder.events if isinstance(event, CanaryPassed)]


def test_it_is_spread_over_sources_codecs_and_buckets(tmp_path: Path) -> None:
    def spec(number: int, **changes: Any) -> JobSpec:
        return make_spec(number, origin=Origin("m", number, changes.pop("source", "inputs[0]")))

    flac = spec(20)
    flac = replace(
        flac, operation=replace(flac.operation, audio=replace(flac.operation.audio, codec="flac"))
    )
    away = spec(30)
    away = replace(away, media=replace(away.media, bucket="live-1250000000"))

    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=SETTINGS, weather=calm())
        specs = [*map(spec, range(1, 10)), flac, away, spec(40, source="inputs[1]")]
        return await rig.run(specs[:6], specs[6:], pause_s=1.0, canary=4), rig

    result, rig = play(main)

    assert sorted(names(rig)[:4]) == ["1", "20", "30", "40"]
    assert outcome(result) == ("passed", 4)


@pytest.mark.parametrize("window", [2, 1000])
def test_after_a_failed_canary_nothing_else_is_paid_and_the_next_run_tries_others(
    tmp_path: Path, window: int
) -> None:
    """Also where most jobs wait in the ledger."""
    settings = replace(SETTINGS, window=window)

    async def main() -> tuple[RunResult, Rig]:
        first = Rig(tmp_path, settings=settings, weather=calm(faults={Fault.REJECT: 1.0}))
        failed = await first.run(make_specs(30), canary=2)
        assert of_result(failed) is ExitCode.STOPPED
        assert outcome(failed) == ("failed", 0)
        assert failed.cut_short is not None
        assert ".mp3 was rejected (InvalidArgument: no)" in failed.cut_short.reason
        assert first.service.calls["submit"] <= 2
        first.service.weather.faults = {Fault.NONE: 1.0}
        again = Rig(tmp_path, settings=settings, store=first.store, service=first.service)
        return await again.run(make_specs(30), canary=2), again

    result, rig = play(main)

    assert outcome(result) == ("passed", 2)
    assert result.counts.of(JobState.REJECTED) == len(rig.service.rejected) <= 2
    assert result.is_complete
    assert of_result(result) is ExitCode.JOBS_FAILED


def test_a_failed_canary_of_a_small_manifest_ends_with_6_too(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=SETTINGS, weather=calm(job_fails=1.0))
        return await rig.run(make_specs(1), canary=3), rig

    result, _ = play(main)

    assert result.is_complete
    assert of_result(result) is ExitCode.STOPPED
    assert outcome(result) == ("failed", 0)


def test_fewer_jobs_than_the_canary_are_all_in_it(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=SETTINGS, weather=calm())
        return await rig.run(make_specs(2), canary=5), rig

    result, rig = play(main)

    assert (of_result(result), outcome(result)) == (ExitCode.OK, ("passed", 2))
    assert [len(objects) for objects in chosen(rig)] == [2]


def test_a_manifest_that_is_done_needs_no_canary(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        first = Rig(tmp_path, settings=SETTINGS, weather=calm())
        await first.run(make_specs(2))
        again = Rig(tmp_path, settings=SETTINGS, store=first.store, service=first.service)
        return await again.run(make_specs(2), canary=5), again

    result, _ = play(main)

    assert (of_result(result), outcome(result)) == (ExitCode.OK, ("not_needed", 0))


def test_jobs_that_earlier_runs_finished_do_not_count(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        first = Rig(tmp_path, settings=SETTINGS, weather=calm())
        await first.run(make_specs(5))
        again = Rig(tmp_path, settings=SETTINGS, store=first.store, service=first.service)
        return await again.run(make_specs(9), canary=2), again

    result, rig = play(main)

    assert outcome(result) == ("passed", 2)
    assert chosen(rig) == [("incoming/6.mp3", "incoming/7.mp3")]


@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_success_whose_stems_are_not_seen_fails_it(tmp_path: Path, is_hidden: bool) -> None:
    """Missing stems, and stems that nothing may look at."""

    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=SETTINGS, weather=calm())

        async def head(place: Place, key: str) -> ObjectHead | None:
            if is_hidden:
                raise Rejected(ApiAnswer(403, "AccessDenied", "no"))
            return None

        replace_method(rig.service, "head", head)
        return await rig.run(make_specs(8), canary=2), rig

    result, rig = play(main)

    assert of_result(result) is ExitCode.STOPPED
    assert outcome(result) == ("failed", 0)
    assert len(rig.service.jobs) == 2
    assert result.counts.of(JobState.SUCCEEDED if is_hidden else JobState.FAILED) > 0


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.HANG_LOST])
def test_a_canary_in_doubt_is_waited_for(tmp_path: Path, fault: Fault) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=SETTINGS, weather=calm(faults={fault: 1.0}))
        rig.after(9.0, lambda: setattr(rig.service.weather, "faults", {Fault.NONE: 1.0}))
        return await rig.run(make_specs(8), canary=2), rig

    result, rig = play(main)

    assert (of_result(result), outcome(result)) == (ExitCode.OK, ("passed", 2))
    first = sorted(rig.service.jobs.values(), key=lambda job: job.accepted_at)
    assert {job.spec.user_data for job in first[:2]} == {"1", "2"}
    assert max(job.ended_at or 0.0 for job in first[:2]) <= first[2].accepted_at


def test_a_canary_whose_doubt_cannot_be_settled_fails(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=SETTINGS, weather=calm(faults={Fault.HANG: 1.0}))

        async def refuse(*_: Any) -> Any:
            raise Rejected(ApiAnswer(403, "AccessDenied", "no"))

        replace_method(rig.service, "list_jobs", refuse)
        return await rig.run(make_specs(8), canary=2), rig

    result, rig = play(main)

    assert of_result(result) is ExitCode.STOPPED
    assert outcome(result) == ("failed", 0)
    assert len(rig.service.jobs) == 2


def test_an_interrupted_canary_continues_with_its_own_jobs(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        settings = replace(SETTINGS, in_flight=1)
        first = Rig(tmp_path, settings=settings, weather=calm())
        first.after(1.0, lambda: first.stop(Interruption("signal")))
        stopped = await first.run(make_specs(9), canary=3)
        assert of_result(stopped) is ExitCode.INTERRUPTED
        assert outcome(stopped) == ("pending", 0)
        assert names(first) == ["1"]
        again = Rig(tmp_path, settings=SETTINGS, store=first.store, service=first.service)
        # The canary was 1, 2 and 3: the new first jobs do not add to it.
        return await again.run(make_specs(3, first=20) + make_specs(9), canary=3), again

    result, rig = play(main)

    assert (of_result(result), outcome(result)) == (ExitCode.OK, ("passed", 3))
    assert set(names(rig)[:3]) == {"1", "2", "3"}
    assert chosen(rig) == []


def test_chosen_jobs_that_left_the_manifest_are_replaced(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        settings = replace(SETTINGS, in_flight=1, window=2)
        first = Rig(tmp_path, settings=settings, weather=calm())
        first.after(1.0, lambda: first.stop(Interruption("signal")))
        await first.run(make_specs(9), canary=3)
        assert names(first) == ["1"]
        again = Rig(tmp_path, settings=settings, store=first.store, service=first.service)
        return await again.run(make_specs(6, first=20), canary=3), again

    result, rig = play(main)

    assert (of_result(result), outcome(result)) == (ExitCode.OK, ("passed", 3))
    assert chosen(rig) == [("incoming/20.mp3", "incoming/21.mp3")]
    assert names(rig) == ["1", *(str(number) for number in range(20, 26))]


def test_a_budget_stops_a_canary_as_it_stops_any_job(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=SETTINGS, weather=calm())
        budget = Budget(Bounds(max_cost=0.001, price_per_min=1.0))
        return await rig.run(make_specs(8), canary=2, budget=budget), rig

    result, rig = play(main)

    assert result.stopped is not None
    assert result.stopped.kind == "budget"
    assert outcome(result) == ("pending", 0)
    assert not rig.service.jobs


def test_levels_count_inside_the_canary_and_after_it(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        settings = replace(SETTINGS, in_flight=1, connections=1)
        rig = Rig(tmp_path, settings=settings, weather=calm(concurrency=1))
        specs = [make_spec(number, level=number % 3) for number in range(1, 8)]
        return await rig.run(specs, canary=3), rig

    _, rig = play(main)

    assert names(rig) == ["2", "1", "3", "5", "4", "7", "6"]


def test_the_manifest_is_read_on_while_the_canary_is_under_way(tmp_path: Path) -> None:
    held: list[int] = []

    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, settings=replace(SETTINGS, window=10), weather=calm(concurrency=50))
        rig.after(6.0, lambda: held.append(rig.runner.in_memory if rig.runner else -1))
        batches = [make_specs(100, first=1 + 100 * at) for at in range(10)]
        return await rig.run(*batches, pause_s=0.1, canary=2), rig

    result, _ = play(main)

    assert result.counts.of(JobState.SUCCEEDED) == 1000
    assert held[0] <= 40, "the rest waits in the ledger"
