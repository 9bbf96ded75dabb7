"""Counts of a run that add up, from its events alone."""

from __future__ import annotations

import pytest

from orchestrator.domain import events as ev
from orchestrator.domain.spec import JobKey
from orchestrator.domain.states import JobState
from orchestrator.live.event_log import counts_line
from orchestrator.live.snapshot import FileNow, Stage
from orchestrator.live.tally import Tally
from tests.unit.live.samples import ManualClock

A, B, C = JobKey("v1.a"), JobKey("v1.b"), JobKey("v1.c")


def test_the_tally_follows_jobs_through_every_state() -> None:
    clock = ManualClock()
    tally = Tally(clock)
    first: tuple[ev.Event, ...] = (
        ev.JobsPlanned(new=3, done=2, ended=1),
        ev.JobSending(A, "a", 0, 1), ev.JobAccepted(A, "a", "j1"),
        ev.JobMoved(A, "a", JobState.RUNNING),
        ev.JobSending(B, "b", 0, 1), ev.JobInDoubt(B, "b", "reset"),
        ev.JobSending(C, "c", 0, 1), ev.JobReturned(C, "c", "SlowDown", 1.0),
    )  # fmt: skip
    for event in first:
        tally.emit(event)

    assert {state: tally.of(state) for state in JobState if tally.of(state)} == {
        JobState.PLANNED: 1, JobState.RUNNING: 1, JobState.IN_DOUBT: 1,
    }  # fmt: skip
    assert (tally.total, tally.under_way, tally.ended_total, tally.eta_s) == (6, 2, 3, None)
    clock.at += 10
    then: tuple[ev.Event, ...] = (
        ev.PlanFinished(6), ev.JobProvenAbsent(B, "b", 3), ev.JobEnded(A, "a", JobState.SUCCEEDED),
        ev.JobSending(C, "c", 0, 1), ev.JobEnded(C, "c", JobState.REJECTED),
    )  # fmt: skip
    for event in then:
        tally.emit(event)

    assert (tally.waiting, tally.under_way, tally.ended_total) == (1, 0, 5)
    assert tally.rate_per_s == 0.2
    assert tally.eta_s == pytest.approx(10.0), "one job is left, and one took ten seconds"


def test_open_jobs_of_a_resumed_run_count_as_submitted_until_the_next_event() -> None:
    tally = Tally(ManualClock())
    tally.emit(ev.JobsPlanned(open=3))
    assert (tally.of(JobState.SUBMITTED), tally.under_way) == (3, 3)

    tally.emit(ev.JobMoved(A, "a", JobState.RUNNING))
    tally.emit(ev.JobEnded(B, "b", JobState.SUCCEEDED))
    tally.emit(ev.JobEnded(A, "a", JobState.SUCCEEDED))

    assert (tally.of(JobState.SUBMITTED), tally.under_way, tally.of(JobState.SUCCEEDED)) == (
        1,
        1,
        2,
    )


def test_the_rate_is_that_of_the_last_minute() -> None:
    clock = ManualClock()
    tally = Tally(clock)
    assert tally.rate_per_s == 0
    for _ in range(30):
        clock.at += 1
        tally.emit(ev.JobEnded(A, "a", JobState.SUCCEEDED))
    assert tally.rate_per_s == 1
    clock.at += 45

    assert tally.rate_per_s == pytest.approx(15 / 60, abs=0.02)
    clock.at += 60
    assert tally.rate_per_s == 0


def test_a_job_that_cannot_be_requested_is_counted_once_and_does_not_wait() -> None:
    tally = Tally(ManualClock())
    tally.emit(ev.JobsPlanned(new=1, open=1, refused=2))
    for key in ("r1.a", "r1.b"):
        tally.emit(ev.JobEnded(JobKey(key), "/a.mp3", JobState.REJECTED, "InvalidObjectName"))

    assert (tally.total, tally.waiting, tally.under_way, tally.ended_total) == (4, 1, 1, 2)


def test_the_cost_so_far_is_that_of_the_stems_that_were_made() -> None:
    tally = Tally(ManualClock())
    tally.price_per_min, tally.currency = 0.05, "CNY"
    tally.emit(ev.RunStarted("r", "r.jsonl", resumed=False))
    tally.emit(ev.JobEnded(JobKey("v1.a"), "a", JobState.SUCCEEDED, output_s=1200.0))

    assert tally.snapshot().cost == pytest.approx(1.0)
    assert "cost 1.00 CNY" in counts_line(tally.snapshot())


def test_a_resumed_job_is_shown_with_its_name_before_it_has_news() -> None:
    tally = Tally(ManualClock())
    tally.emit(ev.RunStarted("r", "r.jsonl", resumed=True))
    tally.emit(ev.JobsPlanned(open=2))
    tally.emit(ev.JobTakenUp(JobKey("v1.a"), "in/a.mp3", JobState.RUNNING, 60.0, 12.0))

    snapshot = tally.snapshot()

    assert snapshot.files == (FileNow("in/a.mp3", 12.0),)
    assert (snapshot.jobs[Stage.RUNNING], snapshot.jobs[Stage.QUEUED]) == (1, 1)


def test_a_job_that_is_adopted_before_it_is_counted_is_counted_once() -> None:
    tally = Tally(ManualClock())
    tally.emit(ev.RunStarted("r", "r.jsonl", resumed=False))
    tally.emit(ev.JobAdopted(JobKey("v1.a"), "a", "j1"))
    tally.emit(ev.JobsPlanned(open=1))
    tally.emit(ev.JobEnded(JobKey("v1.a"), "a", JobState.SUCCEEDED))

    assert (tally.under_way, tally.snapshot().total) == (0, 1)
