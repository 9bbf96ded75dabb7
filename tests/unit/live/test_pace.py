"""The pace of a run is kept from its events."""

from __future__ import annotations

from orchestrator.domain.events import JobSending, RateChanged, RunStarted, SubmitThrottled
from orchestrator.domain.spec import JobKey
from orchestrator.live.pace import Pace
from tests.unit.live.samples import ManualClock


def sending(number: int) -> JobSending:
    return JobSending(JobKey(f"v1.{number}"), "a.mp3", level=0, attempt=1)


def test_submits_throttling_and_the_lowest_rate_are_kept_per_step() -> None:
    clock, rates = ManualClock(), [20.0]
    pace = Pace(clock, lambda: rates[-1])
    pace.emit(RunStarted("nightly", "report.jsonl", resumed=False))
    for number in range(3):
        pace.emit(sending(number))
    pace.emit(SubmitThrottled())
    clock.at += 1
    rates.append(14.0)
    pace.emit(RateChanged(14.0, "the service is throttling"))
    pace.emit(sending(4))

    assert pace.as_dict() == {
        "from": 1_795_309_200.0,
        "step_s": 1.0,
        "sent": [3.0, 1.0],
        "throttled": [1.0, 0],
        "rate_per_s": [20.0, 14.0],
    }


def test_a_new_run_begins_a_new_series() -> None:
    pace = Pace(ManualClock(), lambda: 20.0)
    pace.emit(sending(1))

    pace.emit(RunStarted("nightly-2", "report.jsonl", resumed=False))

    assert pace.as_dict() is None
