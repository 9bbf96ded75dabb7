"""A run is closed by the visit that saw the last of its jobs end, and not before all of them are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.cli.exit_codes import ExitCode, of_result
from orchestrator.errors import Fault as ManifestFault
from orchestrator.errors import Interruption, PlanError
from orchestrator.events import Stopping
from orchestrator.states import JobState
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from orchestrator.model import JobSpec
    from orchestrator.run import RunResult


@pytest.mark.parametrize("kind", ["signal", "deadline"])
def test_a_run_that_was_stopped_while_its_last_answers_were_on_the_way_is_closed(tmp_path: Path, kind: str) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, weather=Weather(faults={Fault.REJECT: 1.0}, latency_s=4))
        rig.after(0.1, lambda: rig.stop(Interruption(kind)))
        return await rig.run(make_specs(3)), rig

    result, rig = run_virtual(main())

    assert any(isinstance(event, Stopping) for event in rig.recorder.events)
    assert result.counts.of(JobState.REJECTED) == 3
    assert not rig.store.is_open
    assert of_result(result) is ExitCode.JOBS_FAILED


def test_a_run_whose_manifest_contradicts_itself_is_neither_complete_nor_closed(tmp_path: Path) -> None:
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
