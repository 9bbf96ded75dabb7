"""One run of the real engine in virtual time, against a service whose faults are drawn from a seed, with crashes in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.clock import SystemClock
from orchestrator.ports import Parts
from orchestrator.protocol.codes import is_transient_job_code
from orchestrator.remote import RemoteState
from orchestrator.run import Engine
from orchestrator.settings import EngineSettings
from orchestrator.states import OPEN, JobState
from orchestrator.testing.builders import make_holder, make_spec
from orchestrator.testing.loop import CrashError, LoopClock, VirtualTimeLoop, kill, on_loop
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from orchestrator.testing.service import FakeService
from orchestrator.testing.weather import Fault, Weather

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from orchestrator.events import Event
    from orchestrator.model import JobSpec
    from orchestrator.run import RunResult


class VirtualLimiter:
    """A sliding-window limiter over the loop's time, which notes when it gave permits.

    Args:
        clock: Time.
        rate_per_s: Permits per second.
    """

    def __init__(self, clock: LoopClock, rate_per_s: float) -> None:
        self._clock = clock
        self.rate_per_s = rate_per_s
        self._next_at = 0.0

    async def acquire(self) -> None:
        while not self.try_acquire():
            await self._clock.sleep(max(self._next_at - self._clock.monotonic(), 1e-6))

    def try_acquire(self) -> bool:
        now = self._clock.monotonic()
        if now < self._next_at:
            return False
        self._next_at = max(now, self._next_at) + 1 / self.rate_per_s
        return True

    def throttled(self, retry_after_s: float | None = None) -> None:
        self._next_at = max(self._next_at, self._clock.monotonic() + (retry_after_s or 0.5))

    def accepted(self) -> None:
        pass

    def snapshot(self) -> bytes:
        return b""

    def restore(self, raw: bytes | None) -> None:
        pass


@dataclass
class Recorder:
    """Keeps every event."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)


def draw_weather(rng: random.Random) -> Weather:
    """Some faults, each with a weight; now and then none, now and then a storm."""
    weights = {fault: rng.choice([0, 0, 0.2, 1.0]) for fault in Fault}
    weights[Fault.NONE] = rng.choice([2.0, 4.0, 10.0])
    return Weather(
        faults=weights,
        query_fails=rng.choice([0, 0.1, 0.4]),
        job_fails=rng.choice([0, 0.1]),
        job_falters=rng.choice([0, 0.1, 0.3]),
        latency_s=rng.choice([0.001, 0.05, 1.0]),
        reply_timeout_s=rng.choice([2.0, 10.0]),
        listing_lag_s=rng.choice([0.0, 5.0, 15.0]),
        job_s=rng.choice([0.5, 20.0, 90.0]),
        concurrency=rng.choice([1, 3, 50]),
    )


class World:
    """Everything that outlives a process: the service, the ledger's file, the report, time.

    Args:
        seed: Decides all chance.
        folder: Where the report goes.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.store = MemoryStore()
        self.weather = draw_weather(self.rng)
        self.specs: list[JobSpec] = [
            make_spec(number, level=self.rng.choice([0, 0, 1, 2]), group=self.rng.choice(["", "a", "b"]))
            for number in range(1, self.rng.choice([2, 8, 25]) + 1)
        ]
        self.settings = EngineSettings(
            in_flight=self.rng.choice([1, 4, 50]),
            connections=self.rng.choice([1, 3, 16]),
            attempts=4,
            initial_s=0.5,
            cap_s=10,
            settle_s=20,
            window=self.rng.choice([2, 5, 100]),
            queries=self.rng.choice([1, 4]),
            heads=self.rng.choice([1, 4]),
            stem_wait_s=2,
        )
        self.settings = replace(self.settings, reply_timeout_s=self.weather.reply_timeout_s)
        self.rate_per_s = self.rng.choice([2.0, 50.0])
        self.service = FakeService(SystemClock(), self.rng, self.weather)  # each visit brings its own clock
        self.crashes_left = self.rng.choice([0, 1, 2, 5])
        self.now = 0.0
        self.visits = 0
        self.events: list[Event] = []

    async def feed(self) -> AsyncGenerator[list[JobSpec]]:
        """The manifest, in batches of any size."""
        at = 0
        while at < len(self.specs):
            size = self.rng.randint(1, 10)
            yield self.specs[at : at + size]
            at += size
            await self.service.clock.sleep(self.rng.choice([0, 0, 0.5, 3]))

    def run(self) -> RunResult:
        """Visit after visit, until the run ends; every visit but the last is killed somewhere."""
        while True:
            result = self._visit()
            if result is not None:
                return result

    def _visit(self) -> RunResult | None:
        self.visits += 1
        crash_after = None
        if self.crashes_left:
            self.crashes_left -= 1
            crash_after = int(10 ** self.rng.uniform(0.5, 3.2))
        loop = VirtualTimeLoop(self.now, crash_after)
        try:
            result = loop.run_until_complete(self._main(loop))
        except CrashError:
            self.store.lose_holder()
            return None
        finally:
            self.now = loop.time() + self.rng.choice([0.0, 1.0, 40.0])
            kill(loop)
        return result

    async def _main(self, loop: VirtualTimeLoop) -> RunResult:
        self.service.clock = LoopClock(loop)
        clock = LoopClock(loop)
        self._set_the_clock_now_and_then(loop, clock)
        ledger = MemoryLedger(self.store, pause=lambda: clock.sleep(self.rng.choice([0, 0, 0.003, 0.2])))
        await ledger.acquire(make_holder())
        sink = Recorder(self.events)
        parts = Parts(
            ledger=ledger,
            service=self.service,
            store=self.service,
            submit_limiter=VirtualLimiter(clock, self.rate_per_s),
            query_limiter=VirtualLimiter(clock, 20),
            list_limiter=VirtualLimiter(clock, 20),
            clock=clock,
            rng=self.rng,
            sink=sink,
            is_transient=is_transient_job_code,
            settings=self.settings,
            off_loop=on_loop,
        )
        engine = Engine(parts, name="sim", report=str(self.folder / "report.jsonl"))
        hints = self.rng.random() < 0.5

        def call_back(job_id: str) -> None:
            """Lost, doubled, or as it should be."""
            for _ in range(self.rng.choice([0, 1, 2])):
                with contextlib.suppress(AttributeError):  # before the engine is built
                    engine.hint(job_id)

        self.service.on_end = call_back if hints else None
        async with asyncio.timeout(7 * 86400):
            result = await engine.run(self.feed())
        await ledger.close()
        return result

    def _set_the_clock_now_and_then(self, loop: VirtualTimeLoop, clock: LoopClock) -> None:
        """This machine's wall clock is wrong by minutes, or is set in the middle; the service's goes as it should."""
        clock.epoch += self.rng.choice([0.0, 0.0, 0.0, -600.0, 600.0])
        if self.rng.random() < 0.3:
            step_s = self.rng.choice([-600.0, 600.0]) if clock.epoch == LoopClock(loop).epoch else LoopClock(loop).epoch - clock.epoch
            loop.call_later(self.rng.uniform(0, 60), lambda: setattr(clock, "epoch", clock.epoch + step_s))

    # --- what must be true afterwards

    def check(self, result: RunResult) -> None:
        """Every job exactly once at the service, every row exactly once in the report, nothing open."""
        assert result.is_complete, result.counts
        assert not any(job.state in OPEN for job in self.store.jobs.values())
        self._check_charged_once()
        self._check_report()
        self._check_speed()
        self._check_depth()

    def _check_charged_once(self) -> None:
        for spec in self.specs:
            made = self.service.accepted(spec.key)
            ended_well = [job for job in made if job.state is not RemoteState.FAILED]
            failed = [job for job in made if job.state is RemoteState.FAILED]
            assert len(ended_well) <= 1, f"{spec.key} was charged {len(ended_well)} times"
            ledger_state = self.store.jobs[spec.key].state
            if ended_well:
                assert ledger_state is JobState.SUCCEEDED, (spec.key, ledger_state)
            elif failed:
                assert ledger_state in (JobState.FAILED, JobState.REJECTED), (spec.key, ledger_state)
                # Every new job at the service followed a passing failure of the one before, within the allowed attempts.
                assert all(job.code == "InternalError" for job in sorted(failed, key=lambda job: job.accepted_at)[:-1])
            assert len(made) <= self.settings.attempts

    def _check_report(self) -> None:
        lines = (self.folder / "report.jsonl").read_bytes().splitlines(keepends=True)
        assert all(line.endswith(b"\n") for line in lines)
        rows = [json.loads(line) for line in lines]
        assert Counter(row["key"] for row in rows) == Counter(spec.key for spec in self.specs)
        for row in rows:
            # A run that was killed after its last row had closed: the next one reports what was done before it.
            assert row["state"] in (self.store.jobs[row["key"]].state.value, "skipped" if self.visits > 1 else "")
            assert row["attempts"] <= self.settings.attempts

    def _check_speed(self) -> None:
        arrivals = sorted(self.service.arrivals)
        slack = self.service.weather.latency_s + 0.5  # requests travel for different times, and commits delay them
        for at, first in enumerate(arrivals):
            end = at
            while end < len(arrivals) and arrivals[end] < first + 1.0:
                end += 1
            assert end - at <= self.rate_per_s * (1 + slack) + self.visits, "the rate limit was passed"

    def _check_depth(self) -> None:
        """Never more jobs at the service than ``in_flight``: what waits there keeps no order."""
        jobs = self.service.jobs.values()
        changes = sorted([(job.accepted_at, 1) for job in jobs] + [(job.ended_at or self.now, -1) for job in jobs])
        assert max(accumulate(change for _, change in changes), default=0) <= self.settings.in_flight


def simulate(seed: int) -> World:
    """Run one seed and check it."""
    with tempfile.TemporaryDirectory() as folder:
        world = World(seed, Path(folder))
        world.check(world.run())
        return world
