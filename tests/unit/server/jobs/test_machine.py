"""Jobs wait for a machine that can do none, and fail once its engine was given up."""

from __future__ import annotations

import pytest

from orchestrator.domain.clock import SystemClock
from orchestrator.server.jobs.machine import MAX_FAILED_STARTS, RETRY_S, Machine
from orchestrator.server.workers.protocol import MachineAtFault, WorkFailed

ENGINE = MachineAtFault("EngineNotInstalled", "The work cannot be loaded: no numpy.")
DISK = MachineAtFault("InternalError", "The disk is full.")


class HandClock(SystemClock):
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def monotonic(self) -> float:
        return self.at_s

    def advance(self, seconds: float) -> None:
        self.at_s += seconds


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def outcome(machine: Machine, fault: MachineAtFault | None) -> str:
    """Return what becomes of a job that meets a fault, or none."""
    try:
        machine.check()
        if fault is None:
            machine.works()
            return "done"
        machine.wait_for(fault)
    except WorkFailed as failed:
        return f"{failed.code}: {failed.message}"
    return "waits"


def fail(machine: Machine, clock: HandClock, fault: MachineAtFault, times: int) -> list[str]:
    seen = []
    for _ in range(times):
        seen.append(outcome(machine, fault))
        clock.advance(RETRY_S)
    return seen


def test_a_job_fails_with_the_reason_after_some_attempts(clock: HandClock) -> None:
    machine = Machine(clock)

    seen = fail(machine, clock, ENGINE, MAX_FAILED_STARTS)

    assert seen[:-1] == ["waits"] * (MAX_FAILED_STARTS - 1)
    assert seen[-1] == (
        "EngineNotInstalled: The work cannot be loaded: no numpy. "
        "The service has given up waiting for it after 3 failed starts."
    )


def test_between_two_attempts_no_job_is_started_and_later_all_fail_at_once(
    clock: HandClock,
) -> None:
    machine = Machine(clock)
    outcome(machine, ENGINE)
    assert machine.waits_s > 0
    clock.advance(RETRY_S)
    assert machine.waits_s == 0

    fail(machine, clock, ENGINE, MAX_FAILED_STARTS - 2)
    outcome(machine, ENGINE)

    assert machine.waits_s == 0
    assert outcome(machine, None).startswith("EngineNotInstalled"), "without another attempt"
    clock.advance(RETRY_S)
    assert outcome(machine, None) == "done", "the attempt of this interval"
    assert outcome(machine, ENGINE) == "waits", "counted from the start again"


def test_jobs_that_fail_together_are_one_attempt(clock: HandClock) -> None:
    machine = Machine(clock)

    seen = [outcome(machine, ENGINE) for _ in range(10 * MAX_FAILED_STARTS)]

    assert set(seen) == {"waits"}


def test_jobs_wait_for_a_disk_however_long_it_takes(clock: HandClock) -> None:
    machine = Machine(clock)

    assert set(fail(machine, clock, DISK, 50)) == {"waits"}


def test_a_full_disk_shows_that_the_engine_was_loaded(clock: HandClock) -> None:
    machine = Machine(clock)
    fail(machine, clock, ENGINE, MAX_FAILED_STARTS)
    clock.advance(RETRY_S)

    assert fail(machine, clock, DISK, MAX_FAILED_STARTS) == ["waits"] * MAX_FAILED_STARTS
    assert machine.waits_s == 0
    assert outcome(machine, None) == "done"
