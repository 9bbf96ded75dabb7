"""The next stage of a job follows from its state, and only after that state was saved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.remote import RemoteJob, RemoteState
from orchestrator.domain.states import TERMINAL, JobState
from orchestrator.runner.budget import Bounds, Budget
from orchestrator.runner.routing import Routing
from orchestrator.runner.shutdown import Shutdown
from orchestrator.testing.builders import make_job
from tests.simulation.doubles import Recorder

if TYPE_CHECKING:
    from orchestrator.domain.job import Job


class Stage:
    """Every stage in one: records the calls by name."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> bool:
            self.calls.append((name, *args, *options.values()))
            return True

        return call


class Rig:
    """A routing between recorded stages."""

    def __init__(self) -> None:
        self.dispatcher, self.tracker, self.settler, self.verifier = (Stage() for _ in range(4))
        self.sink = Recorder()
        ports: Any = type("Ports", (), {"ledger": None, "service": None, "sink": self.sink})
        report: Any = Stage()
        self.routing = Routing(ports, report, Budget(Bounds()), Shutdown(self.sink))
        self.routing.connect(self.dispatcher, self.tracker, self.settler, self.verifier)

    def calls(self) -> dict[str, list[tuple[Any, ...]]]:
        stages = {
            "dispatcher": self.dispatcher,
            "tracker": self.tracker,
            "settler": self.settler,
            "verifier": self.verifier,
        }
        return {name: stage.calls for name, stage in stages.items() if stage.calls}


def saved(state: JobState, number: int = 1, **changes: Any) -> Job:
    return make_job(number, state=state, **changes)


def unsaved(state: JobState) -> Job:
    job = make_job(1, state=state)
    job.saved_state = JobState.PLANNED
    return job


@pytest.mark.parametrize("state", [JobState.SUBMITTED, JobState.RUNNING])
def test_a_job_at_the_service_goes_to_the_tracker(state: JobState) -> None:
    rig, job = Rig(), saved(state)
    rig.routing.route(job)

    assert rig.calls() == {"tracker": [("put", job, False)], "settler": [("know", job, True)]}


def test_an_adopted_job_is_queried_at_once() -> None:
    rig, job = Rig(), saved(JobState.SUBMITTED, adopted=True)
    rig.routing.route(job)

    assert rig.calls() == {"tracker": [("put", job, True)], "settler": [("know", job, False)]}


def test_a_planned_job_goes_back_to_the_dispatcher() -> None:
    rig, job = Rig(), saved(JobState.PLANNED)
    rig.routing.route(job)

    assert rig.calls() == {"dispatcher": [("give_back", job)]}


def test_a_job_in_doubt_goes_to_the_settler() -> None:
    rig, job = Rig(), saved(JobState.IN_DOUBT)
    rig.routing.route(job)

    assert rig.calls() == {"settler": [("put", job)]}


@pytest.mark.parametrize("state", sorted(TERMINAL))
def test_a_terminal_job_is_closed_once(state: JobState) -> None:
    rig, job = Rig(), saved(state)
    rig.routing.route(job)

    assert rig.calls() == {"dispatcher": [("ended", job)]}
    assert rig.routing.ended == 1
    assert len(rig.sink.events) == 1


def test_a_job_that_the_service_calls_done_goes_to_the_verifier() -> None:
    rig, job = Rig(), saved(JobState.RUNNING)
    answer = RemoteJob("j1", RemoteState.SUCCEEDED)
    rig.routing.verify(job, answer)

    assert rig.calls() == {"verifier": [("put", job, answer)]}


@pytest.mark.parametrize("state", sorted(set(JobState) - {JobState.PLANNED}))
def test_a_state_that_was_not_saved_goes_nowhere(state: JobState) -> None:
    rig, job = Rig(), unsaved(state)
    with pytest.raises(RuntimeError, match="before it was saved"):
        rig.routing.route(job)

    assert rig.calls() == {}


def test_a_job_that_is_being_sent_goes_nowhere() -> None:
    rig = Rig()
    with pytest.raises(RuntimeError, match="while it was being sent"):
        rig.routing.route(saved(JobState.SUBMITTING))

    assert rig.calls() == {}


def test_a_resumed_job_that_is_planned_again_waits_until_the_manifest_names_it() -> None:
    rig, job = Rig(), saved(JobState.IN_DOUBT)
    rig.routing.take_up(job)
    job.state = job.saved_state = JobState.PLANNED
    rig.routing.route(job)

    assert rig.routing.has_aside
    assert [call[0] for call in rig.dispatcher.calls] == ["occupy", "release"]

    rig.routing.take_in(rig.routing.named([saved(JobState.PLANNED)]))
    assert not rig.routing.has_aside
    assert [call[0] for call in rig.dispatcher.calls[2:]] == ["add"]


def test_a_resumed_job_that_the_manifest_has_named_goes_back_to_the_dispatcher() -> None:
    rig, job = Rig(), saved(JobState.IN_DOUBT)
    rig.routing.take_up(job)
    rig.routing.take_in(rig.routing.named([saved(JobState.IN_DOUBT)]))
    job.state = job.saved_state = JobState.PLANNED
    rig.routing.route(job)

    assert not rig.routing.has_aside
    assert rig.dispatcher.calls[-1] == ("give_back", job)


def test_a_resumed_job_in_doubt_is_an_orphan() -> None:
    rig, job = Rig(), saved(JobState.IN_DOUBT)
    rig.routing.take_up(job)

    assert rig.settler.calls == [("put", job, True)]
