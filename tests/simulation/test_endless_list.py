"""A job list that repeats a page is given up with a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.commands.exit_codes import ExitCode, of_result
from orchestrator.domain.events import Noticed
from orchestrator.domain.remote import JobPage
from orchestrator.domain.states import JobState
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.remote import JobFilter
    from orchestrator.domain.spec import Place
    from orchestrator.runner.result import RunResult


def test_a_job_list_that_repeats_a_page_leaves_the_job_in_doubt_and_gives_the_reason(
    tmp_path: Path,
) -> None:
    async def main() -> tuple[RunResult, Rig]:
        rig = Rig(tmp_path, weather=Weather(faults={Fault.DROP: 1.0}))
        right = rig.service.list_jobs

        async def circle(place: Place, wanted: JobFilter, next_token: str = "") -> JobPage:
            page = await right(place, wanted)
            return JobPage(page.jobs, "b" if next_token == "a" else "a")

        replace_method(rig.service, "list_jobs", circle)
        return await rig.run(make_specs(1)), rig

    result, rig = run_virtual(main())

    assert result.counts.of(JobState.IN_DOUBT) == 1
    assert of_result(result) is ExitCode.UNFINISHED
    assert rig.service.calls["submit"] == 1
    assert rig.service.calls["list"] == 6
    texts = [event.text for event in rig.recorder.events if isinstance(event, Noticed)]
    assert all("returned the page 'a' twice" in text for text in texts)
    assert [text.partition(":")[0] for text in texts] == [
        "Cannot see which jobs media-1250000000 has had done already",
        "1 job stays in doubt and unsent",
    ]
