"""Events that a display lives on: lengths, run times, percentages, jobs of an earlier process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.domain import events as ev
from orchestrator.domain.remote import QueryReply, RemoteState
from orchestrator.domain.states import JobState
from orchestrator.errors import Interruption
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.domain.spec import Place
    from orchestrator.runner.result import RunResult


def test_what_the_service_says_of_a_running_job_is_an_event_and_so_is_its_run_time(
    tmp_path: Path,
) -> None:
    async def main() -> list[ev.Event]:
        rig = Rig(tmp_path, weather=Weather(job_s=60, concurrency=1))
        query = rig.service.query

        async def with_progress(place: Place, job_ids: Sequence[str]) -> QueryReply:
            reply = await query(place, job_ids)
            jobs = tuple(
                job._replace(progress=0.25) if job.state is RemoteState.RUNNING else job
                for job in reply.jobs
            )
            return QueryReply(jobs, reply.missing, reply.request_id)

        replace_method(rig.service, "query", with_progress)
        await rig.run(make_specs(1))
        return rig.recorder.events

    events = run_virtual(main())
    (end,) = [event for event in events if isinstance(event, ev.JobEnded)]
    said = [event for event in events if isinstance(event, ev.JobProgressed)]

    assert {event.part for event in said} == {0.25}
    assert end.state is JobState.SUCCEEDED
    assert end.took_s is not None
    assert end.ran_s == pytest.approx(end.took_s, abs=1.5), "it did not wait for a place"
    assert end.output_s > 0


def test_jobs_of_an_earlier_process_are_named_before_they_have_news(tmp_path: Path) -> None:
    async def main() -> tuple[RunResult, list[ev.Event]]:
        first = Rig(tmp_path, weather=Weather(job_s=1000, concurrency=2))
        first.after(50, lambda: first.stop(Interruption("signal")))
        stopped = await first.run(make_specs(5))
        rig = Rig(tmp_path, store=first.store, service=first.service)
        await rig.run(make_specs(5))
        return stopped, rig.recorder.events

    stopped, events = run_virtual(main())
    taken_up = [event for event in events if isinstance(event, ev.JobTakenUp)]

    assert taken_up
    for state in (JobState.RUNNING, JobState.SUBMITTED):
        assert sum(event.state is state for event in taken_up) == stopped.counts.of(state)
    assert all(event.for_s > 0 for event in taken_up)
    assert isinstance(events[events.index(taken_up[0]) - 1], ev.JobsPlanned)
