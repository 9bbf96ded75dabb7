"""Credentials that become unreadable during a run stop it; no job is rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.commands.exit_codes import ExitCode, of_result
from orchestrator.domain.states import JobState
from orchestrator.errors import CredentialsMissing
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Weather
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.runner.result import RunResult


@pytest.mark.parametrize("call", ["submit", "query"])
def test_a_profile_file_that_becomes_unreadable_stops_the_run_and_rejects_no_job(
    tmp_path: Path, call: str
) -> None:
    async def main() -> RunResult:
        rig = Rig(tmp_path, weather=Weather(job_s=20, concurrency=50))
        ask = getattr(rig.service, call)

        async def ask_with_keys(*args: object) -> object:
            if rig.clock.monotonic() > 0.1:
                raise CredentialsMissing("the profile file is being written")
            return await ask(*args)

        setattr(rig.service, call, ask_with_keys)
        return await rig.run(make_specs(20))

    result = run_virtual(main())

    assert of_result(result) is ExitCode.CREDENTIALS
    assert result.counts.of(JobState.REJECTED, JobState.FAILED, JobState.IN_DOUBT) == 0
    assert result.counts.of(JobState.PLANNED, JobState.SUBMITTED, JobState.RUNNING) == 20
