"""A defect of the program ends the run in order: every answer is recorded, no job is sent twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.commands.exit_codes import ExitCode, of_result
from orchestrator.domain.states import JobState
from orchestrator.errors import InternalDefect
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.service import FakeService
from orchestrator.testing.weather import Weather
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from orchestrator.domain.spec import JobSpec
    from orchestrator.runner.result import RunResult


def spoil(rig: Rig, name: str, after: int) -> None:
    """Let a method of the service work ``after`` times, then raise although its work is done."""
    right = getattr(rig.service, name)
    calls = 0

    async def wrong(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        answer = await right(*arguments)
        if calls > after:
            raise TypeError("an unexpected answer")
        return answer

    setattr(rig.service, name, wrong)


@pytest.mark.parametrize(("method", "after"), [("submit", 5), ("query", 1), ("head", 3)])
def test_a_defect_stops_the_run_in_order_and_the_next_one_finishes_it(
    tmp_path: Path, method: str, after: int
) -> None:
    async def main() -> tuple[RunResult, RunResult, Rig]:
        rig = Rig(tmp_path, weather=Weather(latency_s=1, job_s=5, concurrency=10), rate_per_s=10)
        spoil(rig, method, after)
        stopped = await rig.run(make_specs(40))
        sound = FakeService(rig.clock, rig.service._rng)
        sound.__dict__.update(
            {name: value for name, value in vars(rig.service).items() if name != method}
        )
        again = Rig(tmp_path, store=rig.store, service=sound)
        return stopped, await again.run(make_specs(40)), again

    stopped, finished, rig = run_virtual(main())

    assert isinstance(stopped.error, InternalDefect)
    assert isinstance(stopped.error.__cause__, TypeError)
    assert of_result(stopped) is ExitCode.UNFINISHED
    assert stopped.counts.of(JobState.SUBMITTING) == 0, "an answer was not recorded"
    assert stopped.counts.of(JobState.IN_DOUBT) > 0 or method != "submit"
    assert finished.counts.of(JobState.SUCCEEDED) == 40
    assert len(rig.service.jobs) == 40, "a job was sent twice"
    assert len(rig.rows()) == 40


def test_after_a_defect_in_a_source_the_next_run_finishes_the_jobs_read_before(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, RunResult]:
        rig = Rig(tmp_path, weather=Weather(job_s=5, concurrency=10))

        async def feed() -> AsyncGenerator[list[JobSpec]]:
            yield make_specs(10)
            await rig.clock.sleep(1)
            raise KeyError("column")

        stopped = await rig.run_feed(feed())
        again = Rig(tmp_path, store=rig.store, service=rig.service)
        return stopped, await again.run(make_specs(10))

    stopped, finished = run_virtual(main())

    assert isinstance(stopped.error, InternalDefect)
    assert "KeyError: 'column'" in str(stopped.error)
    assert not stopped.is_complete
    assert finished.counts.of(JobState.SUCCEEDED) == 10
