"""Failures around a run: partial outages, a clock that is set, and plans larger than memory."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.domain.events import SubmitPaused, SubmitResumed
from orchestrator.domain.states import JobState
from orchestrator.errors import Interruption
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_holder, make_spec, make_specs
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.remote import RemoteJob
    from orchestrator.domain.spec import JobSpec
    from orchestrator.runner.result import RunResult
    from orchestrator.testing.service import FakeJob

HOUR_S = 3600.0


def test_a_service_that_lists_but_refuses_jobs_for_an_hour_gets_one_job_at_a_time(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, Rig, int]:
        rig = Rig(
            tmp_path, weather=Weather(faults={Fault.REFUSE_500: 1.0}, job_s=5, concurrency=500)
        )
        sent = 0

        def repair() -> None:
            nonlocal sent
            sent, rig.service.weather.faults = rig.service.calls["submit"], {Fault.NONE: 1.0}

        rig.after(HOUR_S, repair)
        result = await rig.run(make_specs(1000))
        return result, rig, sent

    result, rig, sent_during_outage = run_virtual(main())

    assert result.is_complete
    assert sent_during_outage < 200, "the service was hammered while it was down"
    assert result.counts.of(JobState.FAILED) < 40, (
        "jobs must not spend their attempts on a service that is down"
    )
    pauses = [
        type(event)
        for event in rig.recorder.events
        if isinstance(event, SubmitPaused | SubmitResumed)
    ]
    assert pauses == [SubmitPaused, SubmitResumed]


def test_an_hour_without_network_costs_no_job_an_attempt(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, weather=Weather(job_s=5, concurrency=50))
        weather = rig.service.weather

        def cut() -> None:
            weather.faults, weather.query_fails = {Fault.NO_CONNECTION: 1.0}, 1.0

        def restore() -> None:
            weather.faults, weather.query_fails = {Fault.NONE: 1.0}, 0.0

        rig.after(10, cut)
        rig.after(10 + HOUR_S, restore)
        return await rig.run(make_specs(1000)), rig

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 1000
    assert {row["attempts"] for row in rig.rows()} == {1}
    assert rig.clock.monotonic() < 1.2 * HOUR_S


def test_a_wall_clock_that_is_set_back_by_an_hour_delays_no_retry_by_an_hour(
    tmp_path: Path,
) -> None:
    async def main(step_s: float) -> float:
        weather = Weather(
            faults={Fault.NONE: 1.0, Fault.NO_CONNECTION: 2.0}, job_s=5, concurrency=20
        )
        rig = Rig(tmp_path / str(step_s), settings=RunnerSettings(window=5), weather=weather)
        rig.after(1, lambda: setattr(rig.clock, "epoch", rig.clock.epoch + step_s))
        result = await rig.run(make_specs(100))
        assert result.counts.of(JobState.SUCCEEDED) == 100
        return rig.clock.monotonic()

    usual_s = run_virtual(main(0.0))

    assert run_virtual(main(-HOUR_S)) < usual_s + 120


def test_a_lane_whose_jobs_all_wait_in_the_ledger_is_not_forgotten_for_another_one(
    tmp_path: Path,
) -> None:
    urgent, others = (
        make_specs(12, group="urgent", level=2),
        make_specs(400, first=100, group="others"),
    )

    async def left_behind(store: MemoryStore) -> None:
        """Leave jobs with a backoff in the ledger, as an earlier run does."""
        clock = LoopClock(asyncio.get_running_loop())
        ledger = MemoryLedger(store)
        await ledger.acquire(make_holder())
        run = await ledger.begin_run("rig", clock.now(), str(tmp_path / "report.jsonl"))
        for number, job in enumerate(await ledger.add(run, urgent)):
            store.jobs[job.spec.key].not_before = clock.now() + 3.0 * number
        await ledger.close()

    async def main() -> list[JobSpec]:
        store = MemoryStore()
        await left_behind(store)
        rig = Rig(
            tmp_path,
            settings=RunnerSettings(window=2, in_flight=4),
            store=store,
            weather=Weather(job_s=4, concurrency=4),
        )
        await rig.run(urgent + others)
        return [job.spec for job in rig.service.jobs.values()]

    sent = run_virtual(main())

    assert len(sent) == 412
    assert max(place for place, spec in enumerate(sent) if spec.group == "urgent") < 100


def test_memory_does_not_grow_with_the_number_of_groups_times_the_window(tmp_path: Path) -> None:
    async def main() -> int:
        rig = Rig(
            tmp_path, settings=RunnerSettings(window=50, in_flight=5), weather=Weather(job_s=20)
        )
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                await rig.clock.sleep(0.5)
                if rig.clock.monotonic() > 1 and rig.runner is not None:
                    most = max(most, rig.runner.in_memory)

        watching = asyncio.create_task(watch())
        rig.after(30, lambda: rig.stop(Interruption("signal")))
        batches = [
            [make_spec(number, group=f"g{number % 60}") for number in range(first, first + 100)]
            for first in range(0, 6000, 100)
        ]
        await rig.run(*batches, pause_s=0.05)
        watching.cancel()
        return most

    assert 400 < run_virtual(main()) <= 50 * 10 + 60 * 8 + 5


def test_a_wall_clock_that_jumps_ahead_by_days_does_not_make_jobs_look_stuck(
    tmp_path: Path,
) -> None:
    async def main() -> RunResult:
        rig = Rig(tmp_path, weather=Weather(job_s=60, concurrency=4))
        rig.after(5, lambda: setattr(rig.clock, "epoch", rig.clock.epoch + 90 * HOUR_S))
        view = rig.service._view
        started = rig.clock.epoch

        def view_with_a_steady_clock(job: FakeJob) -> RemoteJob:
            return view(job)._replace(started_at=job.started_at and started + job.started_at)

        replace_method(rig.service, "_view", view_with_a_steady_clock)
        return await rig.run(make_specs(12))

    assert run_virtual(main()).counts.of(JobState.SUCCEEDED) == 12


def test_a_job_that_is_stuck_for_more_than_a_day_is_reported_as_unfinished(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, float]:
        rig = Rig(tmp_path, weather=Weather(job_s=1, concurrency=0))
        return await rig.run(make_specs(3)), rig.clock.monotonic()

    result, took_s = run_virtual(main())

    assert result.counts.of(JobState.UNFINISHED) == 3
    assert 24 * HOUR_S < took_s < 36 * HOUR_S


def test_a_job_that_the_service_lost_is_reported_soon_and_not_resent_without_a_retry(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, RunResult, Rig]:
        rig = Rig(tmp_path / "first", weather=Weather(job_s=30, concurrency=2))
        rig.after(20, lambda: rig.service.jobs.pop(next(reversed(rig.service.jobs))))
        lost = await rig.run(make_specs(6))
        again = Rig(tmp_path / "second", store=rig.store, service=rig.service)
        return lost, await again.run(make_specs(6)), again

    lost, again, rig = run_virtual(main())

    assert lost.counts.of(JobState.UNFINISHED) == again.counts.of(JobState.UNFINISHED) == 1
    assert lost.ended_at - lost.started_at < HOUR_S / 4
    assert rig.service.calls["submit"] == 6
    assert [row["code"] for row in rig.rows() if row["state"] == "unfinished"] == ["LostByService"]
