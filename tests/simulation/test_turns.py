"""Order of submits while the dispatcher waits for a permit or fetches more jobs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_holder, make_specs
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from orchestrator.testing.weather import Weather
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path


def test_a_job_that_becomes_due_while_the_dispatcher_waits_for_a_permit_goes_next(
    tmp_path: Path,
) -> None:
    urgent, others = make_specs(1, first=100, level=2), make_specs(5)

    async def main() -> list[int]:
        store, clock = MemoryStore(), LoopClock(asyncio.get_running_loop())
        ledger = MemoryLedger(store)
        rig = Rig(tmp_path, store=store, weather=Weather(job_s=5), rate_per_s=0.5)
        await ledger.acquire(make_holder())
        run = await ledger.begin_run("rig", clock.now(), str(rig.report))
        await ledger.add(run, urgent)
        # The second permit comes after 2 seconds.
        store.jobs[urgent[0].key].not_before = clock.now() + 1.0
        await ledger.close()
        await rig.run(others + urgent)
        return [job.spec.level for job in rig.service.jobs.values()]

    assert run_virtual(main()) == [0, 2, 0, 0, 0, 0]


def test_a_batch_takes_no_lower_level_while_the_ledger_has_more_of_a_higher_one(
    tmp_path: Path,
) -> None:
    async def main() -> list[int]:
        clock = LoopClock(asyncio.get_running_loop())
        # A batch is larger than the part of a level that the queue holds.
        many_at_once = AdaptiveLimiter(1000.0, clock)
        rig = Rig(
            tmp_path,
            settings=RunnerSettings(window=3),
            weather=Weather(latency_s=0.0, job_s=1),
            submit_limiter=many_at_once,
        )
        await rig.run(make_specs(40, first=100) + make_specs(40, level=2))
        return [job.spec.level for job in rig.service.jobs.values()]

    assert run_virtual(main()) == [2] * 40 + [0] * 40
