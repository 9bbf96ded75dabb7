"""Number of calls per finished job, against the budget of the design, in virtual time."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.runner.ports import Ports
from orchestrator.runner.runner import Runner
from orchestrator.runner.settings import RunnerOptions, RunnerSettings
from orchestrator.runner.tracking.run_times import RunTimes
from orchestrator.testing.builders import make_holder, make_specs
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.memory_ledger import MemoryLedger
from orchestrator.testing.service import FakeService
from orchestrator.testing.weather import Weather
from tests.simulation.doubles import Recorder, VirtualLimiter, skip_sync

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from orchestrator.domain.spec import JobSpec, MediaObject


@dataclass(frozen=True)
class Cost:
    """Cost of a run.

    Attributes:
        calls_per_job: Calls of the job API; HEADs are calls of the storage.
        stretch: Time of the run divided by the time of the service's work.
    """

    calls_per_job: float
    stretch: float


async def tick(service: FakeService, clock: LoopClock) -> None:
    """Let the service send its callbacks on time; it acts only when it is called."""
    while True:
        service.catch_up()
        await clock.sleep(0.25)


async def cost_of(
    folder: Path,
    specs: list[JobSpec],
    weather: Weather,
    *,
    rate_per_s: float,
    callbacks: bool = False,
) -> Cost:
    """Run these jobs and count the calls."""
    clock = LoopClock(asyncio.get_running_loop())
    service = FakeService(clock, random.Random(1), weather)
    ledger = MemoryLedger()
    await ledger.acquire(make_holder())
    parts = Ports(
        ledger=ledger,
        service=service,
        store=service,
        submit_limiter=VirtualLimiter(clock, rate_per_s),
        query_limiter=VirtualLimiter(clock, 20),
        list_limiter=VirtualLimiter(clock, 20),
        look_limiter=VirtualLimiter(clock, 100),
        clock=clock,
        rng=random.Random(2),
        sink=Recorder(),
        is_transient=lambda _: False,
        settings=RunnerSettings(has_callbacks=callbacks),
        off_loop=skip_sync,
    )
    runner = Runner(parts, RunnerOptions(name="calls", report=str(folder / "report.jsonl")))
    if callbacks:
        service.on_end = runner.hint
    ticking = asyncio.create_task(tick(service, clock))

    async def feed() -> AsyncGenerator[list[JobSpec]]:
        yield specs

    result = await runner.run(feed())
    ticking.cancel()

    assert result.is_complete
    calls = service.calls["submit"] + service.calls["query"] + service.calls["list"]
    last_end = max(job.ended_at or 0.0 for job in service.jobs.values())
    return Cost(calls / len(specs), clock.monotonic() / last_end)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "concurrency", "job_s", "rate_per_s"),
    [
        (500, 50, 40.0, 20.0),
        (500, 10, 40.0, 20.0),
        (300, 300, 200.0, 5.0),
        (300, 300, 200.0, 20.0),
        (400, 5, 40.0, 20.0),
        (200, 2, 40.0, 20.0),
        (200, 1, 40.0, 20.0),
        (60, 10, 40.0, 20.0),
    ],
)
def test_polling_costs_at_most_half_a_call_per_job_and_little_time(
    tmp_path: Path, jobs: int, concurrency: int, job_s: float, rate_per_s: float
) -> None:
    weather = Weather(job_s=job_s, concurrency=concurrency)

    cost = run_virtual(cost_of(tmp_path, make_specs(jobs), weather, rate_per_s=rate_per_s))

    assert cost.calls_per_job <= 1.5
    assert cost.stretch <= 1.7


@pytest.mark.slow
def test_a_service_that_reports_no_times_is_polled_often_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without run times to learn from, polling costs more calls, but the run takes no longer."""
    monkeypatch.setattr(RunTimes, "learn", lambda *_: None)

    cost = run_virtual(
        cost_of(tmp_path, make_specs(300), Weather(job_s=100.0, concurrency=300), rate_per_s=5.0)
    )

    assert cost.calls_per_job <= 2.5
    assert cost.stretch <= 1.5


@pytest.mark.slow
@pytest.mark.parametrize("known", ["duration", "size", "nothing"])
@pytest.mark.parametrize(("jobs", "concurrency"), [(300, 300), (500, 50), (500, 10), (400, 5)])
def test_a_film_among_clips_costs_no_more_calls_than_a_clip(
    tmp_path: Path, known: str, jobs: int, concurrency: int
) -> None:
    """One of twenty objects is seventy times as long as the others.

    If its run time were taken to be theirs, it would be polled all the time.
    """
    length_s = {
        spec.key: 7200.0 if number % 20 == 7 else 100.0
        for number, spec in enumerate(make_specs(jobs))
    }

    def media_of(spec: JobSpec) -> MediaObject:
        duration_s, size = length_s[spec.key], int(length_s[spec.key] * 24_000)
        return replace(
            spec.media,
            duration_s=duration_s if known == "duration" else None,
            size_bytes=size if known == "size" else None,
        )

    specs = [replace(spec, media=media_of(spec)) for spec in make_specs(jobs)]
    weather = Weather(concurrency=concurrency, run_s=lambda spec: 2.0 + length_s[spec.key] / 10)

    cost = run_virtual(cost_of(tmp_path, specs, weather, rate_per_s=20.0))

    assert cost.calls_per_job <= 1.45
    assert cost.stretch <= 1.4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "concurrency", "job_s"), [(500, 50, 40.0), (500, 10, 40.0), (300, 300, 200.0)]
)
def test_with_callbacks_a_job_costs_at_most_a_fifth_of_a_call_beside_its_post(
    tmp_path: Path, jobs: int, concurrency: int, job_s: float
) -> None:
    weather = Weather(job_s=job_s, concurrency=concurrency)

    cost = run_virtual(
        cost_of(tmp_path, make_specs(jobs), weather, rate_per_s=20.0, callbacks=True)
    )

    assert cost.calls_per_job <= 1.2
    assert cost.stretch <= 1.4
