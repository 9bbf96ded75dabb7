"""Requests whose process died before the answers were recorded: how long they keep the next run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.domain.events import Noticed
from orchestrator.domain.states import JobState, Step
from orchestrator.runner.settings import RunnerSettings
from orchestrator.testing.builders import make_holder, make_specs
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

JOBS, ORPHANS = 6, 2


async def killed(folder: Path) -> MemoryStore:
    """Return the ledger of a process that died between two intents and their requests."""
    store, now = MemoryStore(), LoopClock(asyncio.get_running_loop()).now()
    ledger = MemoryLedger(store)
    await ledger.acquire(make_holder())
    run = await ledger.begin_run("rig", now, str(folder / "report.jsonl"))
    jobs = await ledger.add(run, make_specs(JOBS))
    for job in jobs[:ORPHANS]:
        job.step(Step.SEND)
        job.attempts, job.intent_at = 1, now
        await ledger.intend([job])
    store.lose_holder()
    return store


def resume(folder: Path, settings: RunnerSettings) -> tuple[float, list[str]]:
    """Return how long the next run takes, and its notices."""

    async def main() -> tuple[float, list[str]]:
        rig = Rig(folder, settings=settings, store=await killed(folder))
        result = await rig.run(make_specs(JOBS))
        assert result.counts.of(JobState.SUCCEEDED) == JOBS
        assert len(rig.service.jobs) == JOBS
        said = [event.text for event in rig.recorder.events if isinstance(event, Noticed)]
        return rig.clock.monotonic(), [text for text in said if "not recorded" in text]

    return run_virtual(main())


def test_the_wait_for_requests_that_may_still_arrive_is_announced(tmp_path: Path) -> None:
    took_s, notices = resume(tmp_path, RunnerSettings())

    (text,) = notices
    assert f"The answers to {ORPHANS} requests were not recorded" in text
    assert "What is absent is sent again, after 90 s or more." in text
    assert 90 <= took_s <= 240


def test_no_request_outlives_a_service_that_ended_with_its_client(tmp_path: Path) -> None:
    """As the embedded service does: nothing is on its way, and nothing is announced."""
    took_s, notices = resume(tmp_path, RunnerSettings(list_is_exact=True))

    assert took_s <= 30
    assert notices == []
