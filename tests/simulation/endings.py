"""Runs against services with known run times: how late they end, and how many calls they make."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import run_virtual
from orchestrator.testing.weather import Spell, Trouble, Weather
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.domain.spec import JobSpec
    from orchestrator.testing.service import FakeService

ALL = 5000
"""Workers of a service on which no job waits."""
SOON_S, SOON = 5.0, 0.15


@dataclass(frozen=True, slots=True)
class Case:
    """A run to be measured.

    Attributes:
        run_s: Run time of each job, in the order of the manifest.
        workers: Jobs that the service works on at once.
        rate_per_s: Submits per second.
        heard: Share of the callbacks that arrive; None without callbacks.
        held_s: Time during which no job starts.
        paused_s: The same from the third second on, and the service says so.
        outages: Times at which the service cannot be reached, and for how long.
        has_sizes: The sizes of the objects are known, and run times follow them.
        seed: Seed of the service.
    """

    run_s: Sequence[float]
    workers: int
    rate_per_s: float = 20.0
    heard: float | None = None
    held_s: float = 0.0
    paused_s: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()
    has_sizes: bool = False
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Ending:
    """End of a run.

    Attributes:
        delay_s: From the end of the last job, or of a later outage, to that of the run.
        last_s: Time of the last job, from its start.
        ended_at: When the last job ended.
        queries: Queries made.
        calls_per_job: Calls of the job API per job, the POST included.
    """

    delay_s: float
    last_s: float
    ended_at: float
    queries: int
    calls_per_job: float

    @property
    def is_on_time(self) -> bool:
        """True if the run ended within 5 s or 15 % of the last job's time."""
        return self.delay_s <= max(SOON_S, SOON * self.last_s)


def end_of(folder: Path, case: Case) -> Ending:
    """Run a case in virtual time."""
    return run_virtual(_run(folder, case))


async def _run(folder: Path, case: Case) -> Ending:
    specs = [_with_size(spec, case) for spec in make_specs(len(case.run_s))]
    run_s = {spec.key: ran_s for spec, ran_s in zip(specs, case.run_s, strict=True)}
    spells = [Spell(Trouble.HELD, 0.0, case.held_s)] if case.held_s else []
    if case.paused_s:
        spells.append(Spell(Trouble.QUEUE_PAUSED, 3.0, 3.0 + case.paused_s))
    spells += [Spell(Trouble.CUT, at, at + lasts_s) for at, lasts_s in case.outages]
    weather = Weather(
        concurrency=case.workers,
        run_s=lambda spec: run_s[spec.key],
        run_spread=0.0,
        spells=tuple(spells),
    )
    settings = RunnerSettings(has_callbacks=case.heard is not None)
    rig = Rig(folder, settings=settings, weather=weather, rate_per_s=case.rate_per_s)
    background = [asyncio.create_task(_call_back(rig, case))] if case.heard is not None else []
    result = await rig.run(specs, lookback_s=0)  # polling alone is measured
    for task in background:
        task.cancel()
    assert result.is_complete
    return _ending(rig.service, rig.clock.monotonic(), case)


def _with_size(spec: JobSpec, case: Case) -> JobSpec:
    number = int(spec.media.key.rpartition("/")[2].partition(".")[0])
    size = int(case.run_s[number - 1] * 100_000) if case.has_sizes else None
    return replace(spec, media=replace(spec.media, size_bytes=size))


async def _call_back(rig: Rig, case: Case) -> None:
    """Let the service send its callbacks on time; it acts only when it is called."""
    rng = random.Random(case.seed)

    def on_end(job_id: str) -> None:
        if rig.runner is not None and rng.random() < (case.heard or 0.0):
            rig.runner.hint(job_id)

    rig.service.on_end = on_end
    while True:
        rig.service.catch_up()
        await rig.clock.sleep(0.25)


def _ending(service: FakeService, over_at: float, case: Case) -> Ending:
    jobs = list(service.jobs.values())
    ended_at = max(job.ended_at or math.inf for job in jobs)
    last_s = max(ended_at - (job.started_at or 0.0) for job in jobs if job.ended_at == ended_at)
    reachable_at = max([ended_at, *(at + s for at, s in case.outages if at <= ended_at)])
    calls = service.calls["submit"] + service.calls["query"] + service.calls["list"]
    return Ending(
        over_at - reachable_at, last_s, ended_at, service.calls["query"], calls / len(jobs)
    )
