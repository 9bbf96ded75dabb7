"""Two hosts run one manifest: one is stopped, cut off from the ledger, or killed at some instant.

The other takes over when the lease has ended. Whatever the instant, and whenever the first wakes
up: no job is charged twice, and none is lost. ``ORCH_SEEDS=20000`` plays more.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.domain.remote import RemoteState
from orchestrator.domain.states import JobState
from orchestrator.errors import ConnectFailed, LedgerLocked
from orchestrator.runner.ports import Ports
from orchestrator.runner.runner import Runner
from orchestrator.runner.settings import RunnerOptions
from orchestrator.testing.builders import make_holder, make_specs
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from orchestrator.testing.oddities import Oddities
from orchestrator.testing.service import FakeService
from tests.simulation.doubles import Recorder, skip_sync
from tests.simulation.drawing import draw_settings, draw_weather

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from orchestrator.domain.remote import SubmitReply
    from orchestrator.domain.run import Holder
    from orchestrator.domain.spec import JobSpec
    from orchestrator.runner.result import RunResult

SEEDS = int(os.environ.get("ORCH_SEEDS", "2000")) // 20
CHUNK = 20
LEASE_S = 15.0
SURE = 0.8
LOOK_S = 1.0
BLOWS = ["stop", "stop before a send", "stop after an answer", "cut off", "kill"]


class Lease:
    """The lease in the database: who has it, and until when."""

    def __init__(self) -> None:
        self.expires_at = 0.0
        self.taken_by: list[tuple[str, float]] = []


class Host(LoopClock):
    """A host and its clock. While it is stopped, nothing that takes time gets further."""

    def __init__(self, name: str) -> None:
        super().__init__(asyncio.get_running_loop())
        self.name = name
        self.goes, self.reaches_ledger = asyncio.Event(), asyncio.Event()
        self.goes.set()
        self.reaches_ledger.set()
        self.sent: list[float] = []
        self.sends_until_blow = self.answers_until_blow = 0

    async def sleep(self, delay_s: float) -> None:
        await super().sleep(delay_s)
        await self.goes.wait()


class LeasedLedger(MemoryLedger):
    """A ledger whose lease ends by time, as in a database: every transaction renews it."""

    def __init__(self, store: MemoryStore, host: Host, lease: Lease, rng: random.Random) -> None:
        super().__init__(store, pause=self._transact)
        self._host, self._lease, self._rng = host, lease, rng
        self._sure_until = 0.0

    async def _transact(self) -> None:
        await self._host.sleep(self._rng.choice([0.0, 0.001, 0.1]))
        began_at = self._host.monotonic()
        await self._host.reaches_ledger.wait()
        await self._host.goes.wait()
        if not self.store.is_held_by(self):
            raise LedgerLocked("another run took it")
        self._renew(began_at)

    def _renew(self, began_at: float) -> None:
        self._lease.expires_at = self._host.monotonic() + LEASE_S
        self._sure_until = began_at + SURE * LEASE_S

    async def keep(self) -> None:
        """Renew the lease while nothing else does."""
        while True:
            await self._host.sleep(LEASE_S / 4)
            await self._transact()

    async def acquire(self, holder: Holder) -> None:
        now = self._host.monotonic()
        if self.store.holder is not None and now >= self._lease.expires_at:
            self.store.lose_holder()
        await super().acquire(holder)
        self._renew(now)
        self._lease.taken_by.append((self._host.name, now))

    async def heartbeat(self, now: float) -> None:
        await self._transact()
        await super().heartbeat(now)

    def may_send(self) -> bool:
        return self._host.monotonic() < self._sure_until


class Client:
    """The service as one host reaches it, with the last look at the lease before a send."""

    def __init__(self, service: FakeService, host: Host, ledger: LeasedLedger) -> None:
        self._service, self._host, self._ledger = service, host, ledger

    clock_offset_s = 0.0

    async def submit(self, spec: JobSpec) -> SubmitReply:
        host = self._host
        host.sends_until_blow -= 1
        if host.sends_until_blow == 0:
            host.goes.clear()
        await host.goes.wait()
        if not self._ledger.may_send():
            raise ConnectFailed("held back")
        host.sent.append(host.monotonic())
        try:
            return await self._service.submit(spec)
        finally:
            host.answers_until_blow -= 1
            if host.answers_until_blow == 0:
                host.goes.clear()
            await host.goes.wait()

    def __getattr__(self, name: str) -> Any:
        """Pass every other call on, when the host is awake, and again its answer."""
        call = getattr(self._service, name)

        async def passed_on(*arguments: Any, **named: Any) -> Any:
            await self._host.goes.wait()
            try:
                return await call(*arguments, **named)
            finally:
                await self._host.goes.wait()

        return passed_on


class Play:
    """One seed."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.folder = folder / str(seed)
        self.blow = BLOWS[seed % len(BLOWS)]
        self.store, self.lease = MemoryStore(), Lease()
        weather = draw_weather(self.rng)
        self.weather = replace(weather, oddities=Oddities(), spells=())
        self.settings = draw_settings(self.rng, self.weather)
        self.specs = make_specs(self.rng.choice([3, 20, 40]))
        self.rate_per_s = self.rng.choice([2.0, 7.5, 50.0])

    async def run(self) -> None:
        """Play it, with all checks."""
        clock = LoopClock(asyncio.get_running_loop())
        self.service = FakeService(clock, self.rng, self.weather)
        first, second = Host("first"), Host("second")
        working = asyncio.create_task(self.work(first))
        await clock.sleep(self.rng.uniform(0.0, 2.0))
        waiting = asyncio.create_task(self.work(second))
        struck_at = await self.strike(first, working)
        await waiting
        overtaken_at = next((at for name, at in self.lease.taken_by if name == "second"), None)
        assert overtaken_at is not None
        if self.blow == "kill":
            assert overtaken_at <= struck_at + LEASE_S + 2 * LOOK_S
        else:
            first.goes.set()
            first.reaches_ledger.set()
            await self.check_first(working, first, overtaken_at)
        assert [at for at in first.sent if at >= overtaken_at] == [], "sent after it was overtaken"
        self.check()
        working.cancel()  # if it was killed: all of the above it has not seen
        first.goes.set()
        await asyncio.gather(working, return_exceptions=True)

    async def strike(self, host: Host, working: asyncio.Task[RunResult]) -> float:
        """Let the blow fall; perhaps the host recovers while the other works."""
        clock = LoopClock(asyncio.get_running_loop())
        at = self.rng.randint(1, 2 * len(self.specs))
        match self.blow:
            case "stop before a send":
                host.sends_until_blow = at
            case "stop after an answer":
                host.answers_until_blow = at
            case _:
                await clock.sleep(self.rng.expovariate(1 / 5.0))
        while host.goes.is_set() and not working.done():
            if self.blow in {"stop", "kill"}:
                host.goes.clear()
            elif self.blow == "cut off":
                host.reaches_ledger.clear()
                break
            await clock.sleep(0.05)
        struck_at = clock.monotonic()
        if self.blow != "kill" and self.rng.random() < 0.7:
            await clock.sleep(self.rng.choice([0.5, 0.9, 1.0, 1.1, 2.0]) * LEASE_S)
            host.goes.set()
            host.reaches_ledger.set()
        return struck_at

    async def work(self, host: Host) -> RunResult:
        """Run the manifest on a host; wait for the ledger."""
        ledger = LeasedLedger(self.store, host, self.lease, self.rng)
        while True:
            try:
                await ledger.acquire(make_holder())
            except LedgerLocked:
                await host.sleep(LOOK_S)
            else:
                break
        keeping = asyncio.create_task(ledger.keep())
        try:
            return await self.runner(host, ledger).run(self.feed(host))
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await ledger.close()

    def runner(self, host: Host, ledger: LeasedLedger) -> Runner:
        """Return the runner of a host."""
        client: Any = Client(self.service, host, ledger)
        parts = Ports(
            ledger=ledger,
            service=client,
            store=client,
            submit_limiter=AdaptiveLimiter(self.rate_per_s, host),
            query_limiter=AdaptiveLimiter(20, host),
            list_limiter=AdaptiveLimiter(20, host),
            look_limiter=AdaptiveLimiter(100, host),
            clock=host,
            rng=self.rng,
            sink=Recorder(),
            is_transient=lambda code: code == "InternalError",
            off_loop=skip_sync,
            settings=self.settings,
        )
        report = str(self.folder / host.name / "report.jsonl")
        return Runner(parts, RunnerOptions(name="sim", report=report, moves_report=True))

    async def feed(self, host: Host) -> AsyncGenerator[list[JobSpec]]:
        """Yield the manifest."""
        for at in range(0, len(self.specs), 10):
            yield self.specs[at : at + 10]
            await host.sleep(self.rng.choice([0.0, 0.5]))

    # --- checks

    async def check_first(
        self, working: asyncio.Task[RunResult], host: Host, overtaken_at: float
    ) -> None:
        """Check that the first host has ended before it was overtaken, or was fenced off."""
        async with asyncio.timeout(3600):
            [ended] = await asyncio.gather(working, return_exceptions=True)
        if isinstance(ended, BaseException):
            while isinstance(ended, BaseExceptionGroup):
                ended = ended.exceptions[0]
            assert isinstance(ended, LedgerLocked), repr(ended)

    def check(self) -> None:
        """Check that no job was charged twice or lost."""
        made = defaultdict(list)
        for job in self.service.jobs.values():
            made[job.spec.key].append(job)
        for spec in self.specs:
            record = self.store.jobs[spec.key]
            well = [job for job in made[spec.key] if job.state is not RemoteState.FAILED]
            assert len(well) <= 1, f"{spec.key} was charged {len(well)} times"
            if record.state is JobState.IN_DOUBT:
                continue  # nothing showed that the list can be trusted, and the run said so
            if well:
                assert (record.state, record.job_id) == (JobState.SUCCEEDED, well[0].job_id)
            else:
                assert record.state in {JobState.FAILED, JobState.REJECTED}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_a_takeover_charges_no_job_twice(first: int, tmp_path: Path) -> None:
    for seed in range(first, min(first + CHUNK, SEEDS)):
        try:
            run_virtual(Play(seed, tmp_path).run())
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
