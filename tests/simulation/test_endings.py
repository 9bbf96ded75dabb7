"""A run is closed once all of its jobs are known and have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.commands.exit_codes import ExitCode, of_result
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.events import JobsPlanned, PlanFinished, RunStarted, Stopping
from orchestrator.domain.states import JobState
from orchestrator.errors import Fault as ManifestFault
from orchestrator.errors import Interruption, PlanError
from orchestrator.live.tally import Tally
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from orchestrator.domain.events import Event
    from orchestrator.domain.spec import JobSpec
    from orchestrator.runner.result import RunResult


@pytest.mark.parametrize("kind", ["signal", "deadline"])
def test_a_run_stopped_while_its_last_answers_are_under_way_is_closed(
    tmp_path: Path, kind: str
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, weather=Weather(faults={Fault.REJECT: 1.0}, latency_s=4))
        rig.after(0.1, lambda: rig.stop(Interruption(kind)))
        return await rig.run(make_specs(3), lookback_s=0), rig

    result, rig = run_virtual(main())

    assert any(isinstance(event, Stopping) for event in rig.recorder.events)
    assert result.counts.of(JobState.REJECTED) == 3
    assert not rig.store.is_open
    assert of_result(result) is ExitCode.JOBS_FAILED


def test_a_run_whose_manifest_contradicts_itself_is_neither_complete_nor_closed(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path)

        async def feed() -> AsyncGenerator[list[JobSpec]]:
            yield make_specs(2)
            await rig.clock.sleep(300)
            raise PlanError([ManifestFault("two jobs write one object")])

        return await rig.run_feed(feed()), rig

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.SUCCEEDED) == 2
    assert not result.is_complete
    assert rig.store.is_open
    assert of_result(result) is ExitCode.USAGE


@pytest.mark.parametrize("pause_s", [0.0, 5.0, 60.0])
def test_the_progress_of_a_resumed_run_never_counts_a_job_twice(
    tmp_path: Path, pause_s: float
) -> None:
    """Jobs left at the service end before the manifest names them, after, or without it."""

    async def main() -> tuple[Tally, list[tuple[int, int]]]:
        first = Rig(tmp_path, weather=Weather(job_s=20, concurrency=10))
        first.after(5, lambda: first.stop(Interruption("signal")))
        await first.run(make_specs(10))
        rig = Rig(tmp_path, store=first.store, service=first.service)
        tally, seen = Tally(rig.clock), []

        def emit(event: Event) -> None:
            tally.emit(event)
            seen.append((tally.ended_total, tally.total))

        replace_method(rig.recorder, "emit", emit)
        result = await rig.run(make_specs(2, first=50), make_specs(6), pause_s=pause_s)
        assert result.is_complete
        return tally, seen

    tally, seen = run_virtual(main())

    assert all(ended <= total for ended, total in seen)
    assert seen[-1] == (12, 12)
    assert tally.under_way == tally.waiting == 0


def test_a_second_run_in_one_process_is_counted_from_zero() -> None:
    tally = Tally(SystemClock())
    for event in (
        RunStarted("a", "a.jsonl", resumed=True),
        JobsPlanned(new=2, done=3),
        PlanFinished(5),
    ):
        tally.emit(event)

    tally.emit(RunStarted("b", "b.jsonl", resumed=False))

    assert (tally.total, tally.waiting, tally.ended_total, tally.is_planned) == (0, 0, 0, False)
