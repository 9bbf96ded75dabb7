"""Jobs in doubt that are no longer in the manifest are settled and never resent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.cli.exit_codes import ExitCode, of_result
from orchestrator.domain.states import JobState
from orchestrator.errors import Interruption
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runner.result import RunResult

SETTINGS = RunnerSettings(reply_timeout_s=10.0)


async def leave_in_doubt(folder: Path, fault: Fault) -> Rig:
    """Return a rig with four jobs that were sent and never answered."""
    rig = Rig(
        folder, settings=SETTINGS, weather=Weather(faults={fault: 1.0}, job_s=5, reply_timeout_s=10)
    )
    rig.after(10.6, lambda: rig.stop(Interruption("signal")))
    result = await rig.run(make_specs(4))
    assert result.counts.of(JobState.IN_DOUBT) == 4
    return rig


async def resume(
    folder: Path, before: Rig, pause_s: float, *, is_whole: bool = True
) -> tuple[RunResult, Rig]:
    """Resume with job 1 at once, then job 2 and a new one; the manifest lacks 3 and 4."""
    before.service.weather.faults = {Fault.NONE: 1.0}
    rig = Rig(folder, settings=SETTINGS, store=before.store, service=before.service)
    return await rig.run(
        make_specs(1),
        make_specs(1, first=2) + make_specs(1, first=10),
        pause_s=pause_s,
        is_whole=is_whole,
    ), rig


def states(rig: Rig) -> dict[str, JobState]:
    return {job.spec.user_data: job.state for job in rig.store.jobs.values()}


@pytest.mark.parametrize("pause_s", [0.0, 25.0, 40.0, 41.0, 42.0, 45.0, 200.0])
def test_a_job_no_longer_in_the_manifest_is_not_resent_when_it_is_proven_absent(
    tmp_path: Path, pause_s: float
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        return await resume(tmp_path, await leave_in_doubt(tmp_path, Fault.HANG_LOST), pause_s)

    result, rig = run_virtual(main())

    assert sorted(job.spec.user_data for job in rig.service.jobs.values()) == ["1", "10", "2"]
    assert result.is_complete
    done = dict.fromkeys(["1", "2", "10"], JobState.SUCCEEDED)
    assert states(rig) == done | dict.fromkeys(["3", "4"], JobState.CANCELLED)
    assert sorted(row["user_data"] for row in rig.rows()) == ["1", "10", "2", "3", "4"]
    assert of_result(result) is ExitCode.JOBS_FAILED


def test_a_job_no_longer_in_the_manifest_that_exists_at_the_service_is_tracked_to_its_end(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        return await resume(tmp_path, await leave_in_doubt(tmp_path, Fault.HANG), 60.0)

    result, rig = run_virtual(main())

    assert result.is_complete
    assert states(rig) == dict.fromkeys(["1", "2", "3", "4", "10"], JobState.SUCCEEDED)


def test_a_run_of_part_of_the_manifest_leaves_the_other_jobs_to_a_whole_run(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        return await resume(
            tmp_path, await leave_in_doubt(tmp_path, Fault.HANG_LOST), 0.0, is_whole=False
        )

    result, rig = run_virtual(main())

    assert sorted(job.spec.user_data for job in rig.service.jobs.values()) == ["1", "10", "2"]
    assert (states(rig)["3"], states(rig)["4"]) == (JobState.PLANNED, JobState.PLANNED)
    assert of_result(result) is ExitCode.UNFINISHED
