"""Jobs whose workers can never start fail in the end, also if the workers are elsewhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.clock import SystemClock
from orchestrator.server.jobs import machine
from orchestrator.server.jobs.database import Database
from orchestrator.server.jobs.ids import Ids
from orchestrator.server.jobs.queues import Queues
from orchestrator.server.jobs.row import State
from orchestrator.server.jobs.scheduler import Scheduler
from orchestrator.server.jobs.store import JobStore, ListQuery
from orchestrator.server.jobs.submit_forms import Reader
from orchestrator.server.settings import LocalSettings
from orchestrator.server.workers.protocol import MachineAtFault, WorkerLost
from tests.integration.server.conftest import BUCKET, REGION, job_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.domain.ports import Clock
    from orchestrator.server.jobs.row import JobRow
    from orchestrator.server.workers.protocol import WorkFailed

ENGINE = MachineAtFault("EngineNotInstalled", "No module named 'numpy'.")
DISK = MachineAtFault("InternalError", "The node's disk is full.")


class SlowClock(SystemClock):
    """A clock by which every timer is early, as those of uvloop are by up to a millisecond."""

    def monotonic(self) -> float:
        return super().monotonic() / 2


class Work:
    """Work whose attempts end with these faults; the one after them never ends."""

    def __init__(self, *faults: WorkFailed) -> None:
        self.faults = list(faults)
        self.is_endless = asyncio.Event()

    def capacity(self, _: object) -> int:
        return 2

    async def run(self, *_: object, **__: object) -> Any:
        if not self.faults:
            self.is_endless.set()
            await asyncio.Event().wait()
        raise self.faults.pop(0)


class Site:
    """A scheduler with a queue on disk, and the jobs that it has ended."""

    def __init__(self, folder: Path, database: Database) -> None:
        self._settings = LocalSettings(folder)
        self._ids = Ids(1)
        self.store = JobStore(database)
        self.queues = Queues(database, self._settings, self._ids)
        self.ended: asyncio.Queue[JobRow] = asyncio.Queue()

    def scheduler(self, work: Any, clock: Clock | None = None) -> Scheduler:
        settings, clock = self._settings, clock or SystemClock()
        return Scheduler(settings, clock, self.store, self.queues, work, self.ended.put)

    async def submit(self) -> None:
        _, (draft,) = Reader(pytest.fail).read(job_body().encode())
        queue = await self.queues.for_job(BUCKET, REGION, "", 1.0)
        place = (BUCKET, REGION, queue.queue_id)
        await self.store.add([draft.job(self._ids.new("j"), place, 1.0)])


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    monkeypatch.setattr(machine, "RETRY_S", 0.01)
    database = Database(tmp_path / "queue.db", durable=False)
    yield Site(tmp_path, database)
    await database.close()


async def open_until_endless(scheduler: Scheduler, work: Work) -> None:
    """Start jobs until one is at the attempt that never ends, then stop in order."""
    scheduler.open()
    async with asyncio.timeout(10):
        await work.is_endless.wait()
    await scheduler.close()


def lost(fault: MachineAtFault) -> WorkerLost:
    return WorkerLost(fault.message, is_counted=False, fault=fault)


async def test_a_job_fails_if_no_node_can_load_the_engine(site: Site) -> None:
    scheduler = site.scheduler(Work(*(lost(ENGINE) for _ in range(machine.MAX_FAILED_STARTS))))
    await site.submit()
    scheduler.open()

    async with asyncio.timeout(10):
        row = await site.ended.get()
    await scheduler.close()

    assert (row.code, row.starts) == ("EngineNotInstalled", 1)
    assert row.message.startswith("No module named 'numpy'.")


@pytest.mark.parametrize("fault", [DISK, None])
async def test_a_job_waits_for_another_node_if_one_is_gone_or_full(
    site: Site, fault: MachineAtFault | None
) -> None:
    loss = lost(fault) if fault else WorkerLost("The node died.", is_counted=False)
    work = Work(*[loss] * (3 * machine.MAX_FAILED_STARTS))
    scheduler = site.scheduler(work)
    await site.submit()

    await open_until_endless(scheduler, work)

    assert site.ended.empty()


async def test_an_attempt_follows_also_if_its_timer_is_early(site: Site) -> None:
    work = Work(DISK, DISK)
    scheduler = site.scheduler(work, SlowClock())
    await site.submit()

    await open_until_endless(scheduler, work)


async def test_a_stop_in_order_is_no_start_that_failed(site: Site) -> None:
    work = Work()
    scheduler = site.scheduler(work)
    await site.submit()

    await open_until_endless(scheduler, work)

    (row,) = site.store.page(ListQuery(BUCKET))
    assert (row.state, row.starts, row.started_at) == (State.SUBMITTED, 0, None)
