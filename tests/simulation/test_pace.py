"""Pace of submits and commits: grouped under load, immediate otherwise; reading ahead waits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.states import JobState
from orchestrator.errors import Interruption
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_spec, make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from pathlib import Path

    from orchestrator.domain.job import Job
    from orchestrator.domain.spec import JobSpec

UNLIMITED = 1e9
SETTINGS = replace(RunnerSettings(), in_flight=10_000, connections=64)


class _Unlimited:
    """A limiter without a limit."""

    rate_per_s = UNLIMITED

    async def acquire(self) -> None:
        pass

    def try_acquire(self) -> bool:
        return True

    def throttled(self, retry_after_s: float | None = None) -> None:
        pass

    def accepted(self) -> None:
        pass

    def snapshot(self) -> bytes:
        return b""

    def restore(self, raw: bytes | None) -> None:
        pass


def _saves(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> dict[JobState, list[int]]:
    """Return, by state, the number of jobs in each call of the ledger; filled during the run."""
    held: dict[JobState, list[int]] = {state: [] for state in JobState}

    def noted(
        call: Callable[[Sequence[Job]], Awaitable[None]],
    ) -> Callable[[Sequence[Job]], Awaitable[None]]:
        async def record(jobs: Sequence[Job]) -> None:
            if jobs:
                held[jobs[0].state].append(len(jobs))
            await call(jobs)

        return record

    for call in (rig.ledger.save, rig.ledger.intend):
        monkeypatch.setattr(rig.ledger, call.__name__, noted(call))
    return held


def test_under_load_intents_and_answers_are_recorded_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> dict[JobState, list[int]]:
        rig = Rig(
            tmp_path,
            settings=SETTINGS,
            submit_limiter=_Unlimited(),
            weather=Weather(latency_s=0.002, job_s=1.0, concurrency=1000),
        )
        held = _saves(rig, monkeypatch)
        await rig.run(make_specs(960))
        return held

    held = run_virtual(scene())
    assert sum(held[JobState.SUBMITTING]) == 960
    assert len(held[JobState.SUBMITTING]) <= 960 / 32
    assert len(held[JobState.SUBMITTED]) <= 960 / 24


def test_a_free_connection_does_not_wait_for_those_that_hang(tmp_path: Path) -> None:
    """While 63 answers hang, the other jobs go one by one, delayed by no more than the grouping."""

    async def scene() -> float:
        rig = Rig(
            tmp_path,
            settings=SETTINGS,
            submit_limiter=_Unlimited(),
            weather=Weather(latency_s=0.001, job_s=1.0, concurrency=1000),
        )
        slow = rig.service.submit
        sent = 0

        async def submit(spec: JobSpec) -> object:
            nonlocal sent
            sent += 1
            if sent <= 63:
                await rig.clock.sleep(50.0)
            return await slow(spec)

        replace_method(rig.service, "submit", submit)
        arrived: list[float] = []
        rig.after(20.0, lambda: arrived.append(sent))
        await rig.run(make_specs(63 + 200))
        return arrived[0]

    assert run_virtual(scene()) == 63 + 200


def test_reading_ahead_waits_only_while_this_machine_bounds_the_sending(
    tmp_path: Path,
) -> None:
    """Jobs read too early would only be written to the ledger and read back."""

    async def read_ahead(folder: Path, **parts: Any) -> int:
        rig = Rig(
            folder,
            settings=SETTINGS,
            weather=Weather(latency_s=0.01, job_s=1.0, concurrency=10_000),
            **parts,
        )
        most = read = 0

        async def feed() -> AsyncGenerator[list[JobSpec]]:
            nonlocal most, read
            specs = make_specs(4000)
            for start in range(0, len(specs), 500):
                read += 500
                most = max(most, read - len(rig.service.arrivals))
                yield specs[start : start + 500]
                await rig.clock.sleep(0.02)
            rig.stop(Interruption("deadline", "the test has seen enough"))

        await rig.run_feed(feed())
        return most

    fast, bounded = tmp_path / "fast", tmp_path / "bounded"
    for folder in (fast, bounded):
        folder.mkdir()
    assert run_virtual(read_ahead(fast, submit_limiter=_Unlimited())) <= 2500
    assert run_virtual(read_ahead(bounded)) >= 3500


@pytest.mark.parametrize("connections", [1, 2, 64])
def test_a_job_of_a_high_level_at_the_end_of_the_manifest_is_found_early_on_any_connections(
    tmp_path: Path, connections: int
) -> None:
    """A single connection is busy at any rate, so a busy one does not show what bounds sending."""

    async def scene() -> float:
        settings = replace(SETTINGS, connections=connections)
        rig = Rig(
            tmp_path,
            settings=settings,
            rate_per_s=20,
            weather=Weather(latency_s=0.04, job_s=1.0, concurrency=10_000),
        )
        submit = rig.service.submit
        sent_at: list[float] = []

        async def noted(spec: JobSpec) -> object:
            if spec.level == 2:
                sent_at.append(rig.clock.monotonic())
                rig.stop(Interruption("deadline", "the test has seen enough"))
            return await submit(spec)

        replace_method(rig.service, "submit", noted)
        specs = make_specs(4000)
        await rig.run(
            *(specs[start : start + 500] for start in range(0, 4000, 500)),
            [make_spec(4001, level=2)],
            pause_s=0.05,
        )
        return sent_at[0]

    assert run_virtual(scene()) < 2
