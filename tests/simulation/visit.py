"""One visit of the real engine to a run, in virtual time: from the lease to whatever ends it."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
import pytest

from orchestrator.cli.exit_codes import ExitCode, of_error, of_result
from orchestrator.client.rate_limiter import AdaptiveLimiter
from orchestrator.client.service_clock import ServiceClock
from orchestrator.client.wire.error_codes import is_transient_job_code
from orchestrator.domain.events import JobEnded, Stopping
from orchestrator.domain.states import OPEN, JobState
from orchestrator.errors import ClockSkewed, Interruption, LedgerError, LedgerFull, LedgerLocked
from orchestrator.runner.budget import Bounds, Budget
from orchestrator.runner.ports import Parts
from orchestrator.runner.runner import Runner
from orchestrator.runner.settings import RunnerOptions
from orchestrator.testing.builders import make_holder
from orchestrator.testing.loop import CrashError, LoopClock, VirtualTimeLoop, kill
from orchestrator.testing.memory_ledger import MemoryLedger
from tests.simulation.client import Client, Keys
from tests.simulation.drawing import Ending, Fate
from tests.simulation.mirror import Mirror, MirroredLedger
from tests.simulation.watch import COMMIT_S, Watch, WatchedLedger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from orchestrator.domain.events import Event
    from orchestrator.domain.spec import JobSpec
    from orchestrator.runner.result import RunResult
    from tests.simulation.world import World

_TIMED = (Ending.SIGNAL, Ending.ABORT, Ending.DEADLINE, Ending.WINDOW)
_DEAD = (Ending.CRASH, Ending.POWER_CUT)
_EXIT = {
    Ending.SIGNAL: ("signal", ExitCode.INTERRUPTED),
    Ending.ABORT: ("signal", ExitCode.INTERRUPTED),
    Ending.DEADLINE: ("deadline", ExitCode.STOPPED),
    Ending.WINDOW: ("window", ExitCode.STOPPED),
    Ending.FAILURES: ("budget", ExitCode.STOPPED),
    Ending.COST: ("budget", ExitCode.STOPPED),
    Ending.KEYS: ("error", ExitCode.CREDENTIALS),
    Ending.CLOCK: ("error", ExitCode.CREDENTIALS),
}
"""Why a visit stops, by how it was to end, and the exit code."""
PRICE_PER_MIN = 1.0
JOB_COST = 2 * 12.5 / 60 * PRICE_PER_MIN  # two stems of the length that the fake service tells


@dataclass(frozen=True, slots=True)
class Hours:
    """Open until some instant of the wall clock."""

    closes_at: float

    def is_open(self, now: float) -> bool:
        """See ``watch.OpenHours``."""
        return now < self.closes_at

    def next_change(self, now: float) -> float:
        """See ``watch.OpenHours``."""
        return self.closes_at if now < self.closes_at else self.closes_at + 86400.0


async def _skip_sync(_act: Callable[[], None]) -> None:
    """``Parts.off_loop``: nothing is synced here; what a power cut takes is drawn."""


@dataclass
class Visit:
    """One visit.

    Attributes:
        world: What outlives it.
        number: Counts the visits, from 1.
        fate: What befalls it.
        retry: States that are asked for again.
        events: What it told, and when.
    """

    world: World
    number: int
    fate: Fate
    retry: frozenset[JobState]
    events: list[tuple[float, Event]] = field(default_factory=list)
    _mirror: Mirror | None = None

    def carry_out(self) -> RunResult | None:
        """The result, or None if it was killed or ended by an error."""
        world, fate = self.world, self.fate
        loop = VirtualTimeLoop(world.now, fate.after if fate.ending in _DEAD else None, fate.within)
        try:
            return loop.run_until_complete(self._main(loop))
        except CrashError:
            world.store.lose_holder()
            if self._mirror is not None:
                self._mirror.die()
            if fate.ending is Ending.POWER_CUT:
                self._lose_what_was_not_synced()
            return None
        finally:
            world.now = loop.time()
            kill(loop)

    def emit(self, event: Event) -> None:
        """``EventSink``."""
        now = self._clock.monotonic()
        self.events.append((now, event))
        if isinstance(event, Stopping):
            self.watch.stopped_at = now
        if isinstance(event, JobEnded) and event.state in (JobState.FAILED, JobState.REJECTED):
            self.watch.failed_at.append(now)

    def _lose_what_was_not_synced(self) -> None:
        report = self.world.report
        if report.exists():
            mark = orjson.loads(self.world.store.memory.get("report", b"{}"))
            synced = min(mark.get("bytes", 0), report.stat().st_size)
            os.truncate(report, self.world.rng.randint(synced, report.stat().st_size))

    # --- the parts

    async def _main(self, loop: VirtualTimeLoop) -> RunResult | None:
        world = self.world
        self._loop = loop
        self._began_at = loop.time()
        world.service.clock = LoopClock(loop)
        self._own = LoopClock(loop)
        self._own.epoch += self.fate.clock_error_s
        client = Client(
            world.service, self._own, self._keys(), tells_time=self.fate.ending is not Ending.CLOCK
        )
        self._clock = ServiceClock(self._own, client)  # type: ignore[arg-type]  # it asks for the offset only
        self.watch = client.watch = Watch(
            world.store,
            world.service,
            self._clock,
            world.settings,
            rate_per_s=world.rate_per_s,
            allowed=world.manifest.keys,
            has_steady_clock=self.fate.has_steady_clock,
        )
        if (most := self._bounds().max_failures) is not None:
            self.watch.max_failures = most
        self._limiter = AdaptiveLimiter(world.rate_per_s, self._clock)
        client.departures = self._limiter.space()
        ledger = self._ledger()
        self._commits = 0
        await ledger.acquire(make_holder(pid=self.number))
        self._engine = self._build(client, ledger)
        self._arrange()
        result = await self._run()
        await ledger.close()
        assert len(asyncio.all_tasks()) == 1, "a task was left behind"
        if result is not None:
            self._check(result)
        return result

    def _ledger(self) -> WatchedLedger:
        if self.world.mirrored_in is None:
            return WatchedLedger(self.world.store, self.watch, self._commit)
        self._mirror = Mirror(self.world.mirrored_in)
        return MirroredLedger(self.world.store, self.watch, self._commit, self._mirror)

    def _keys(self) -> Keys:
        clock, fate = self.world.service.clock, self.fate
        if fate.ending is Ending.KEYS:
            return Keys(clock, self._began_at + fate.at_s, is_renewed=False)
        over_at = None if fate.renewed_at_s is None else self._began_at + fate.renewed_at_s
        return Keys(clock, over_at, is_renewed=True)

    def _build(self, client: Client, ledger: WatchedLedger) -> Runner:
        world, fate = self.world, self.fate
        parts = Parts(
            ledger=ledger,
            service=client,
            store=client,
            submit_limiter=self._limiter,
            query_limiter=AdaptiveLimiter(20, self._clock),
            list_limiter=AdaptiveLimiter(20, self._clock),
            clock=self._clock,
            rng=world.rng,
            sink=self,
            is_transient=is_transient_job_code,
            settings=world.settings,
            off_loop=_skip_sync,
        )
        return Runner(
            parts,
            RunnerOptions(
                name="sim",
                report=str(world.report),
                retry=self.retry,
                budget=Budget(self._bounds()),
                deadline_s=fate.at_s if fate.ending is Ending.DEADLINE else None,
                window=Hours(self._clock.now() + fate.at_s - 0.1)
                if fate.ending is Ending.WINDOW
                else None,
            ),
        )

    def _bounds(self) -> Bounds:
        match self.fate.ending:
            case Ending.FAILURES:
                return Bounds(max_failures=self.fate.after % 4)
            case Ending.COST:
                return Bounds(max_cost=8.0 + self.fate.after % 12, price_per_min=PRICE_PER_MIN)
            case _:
                return Bounds()

    async def _commit(self) -> None:
        """One half of a change of the ledger: before it takes effect, or before it is acknowledged."""
        self._commits += 1
        if self.fate.ending is Ending.LEDGER_FULL and self._commits >= self.fate.after // 8:
            raise LedgerFull
        await self._own.sleep(self.world.rng.choice([0, 0, 0.003, COMMIT_S]))

    # --- what happens meanwhile

    def _arrange(self) -> None:
        fate, call_later = self.fate, self._loop.call_later
        if fate.clock_set is not None:
            at_s, error_s = fate.clock_set
            right = LoopClock(self._loop).epoch
            call_later(at_s, lambda: setattr(self._own, "epoch", right + error_s))
        if fate.ending in (Ending.SIGNAL, Ending.ABORT):
            call_later(fate.at_s, lambda: self._engine.stop(Interruption("signal", "interrupted")))
        if fate.rival_at_s is not None:
            call_later(fate.rival_at_s, lambda: self._loop.create_task(self._compete()))
        self.world.service.on_end = self._call_back if fate.is_called_back else None

    def _call_back(self, job_id: str) -> None:
        """Lost, doubled, or as it should be."""
        for _ in range(self.world.rng.choice([0, 1, 2])):
            self._engine.hint(job_id)

    async def _compete(self) -> None:
        """A second run on the same ledger: it is told who holds it, and changes nothing."""
        store = self.world.store
        if store.holder is None:
            return  # the first has just gone
        before = dict(store.jobs), len(store.runs), store.visit, store.holder
        ledger = MemoryLedger(store)
        with pytest.raises(LedgerLocked, match=f"Process {self.number} "):
            await ledger.acquire(make_holder(pid=99_999))
        with pytest.raises(LedgerError):
            await ledger.begin_run("rival", self._clock.now(), "r")
        with pytest.raises(LedgerLocked):
            await ledger.heartbeat(0.0)
        await ledger.close()
        assert before == (dict(store.jobs), len(store.runs), store.visit, store.holder), (
            "the second run changed something"
        )

    async def _run(self) -> RunResult | None:
        """The engine's result, or None if an error ended it."""
        work = self._loop.create_task(self._engine.run(self._feed()))
        if self.fate.ending is Ending.ABORT:
            self._loop.call_later(self.fate.at_s + self.fate.within, work.cancel)
        try:
            async with asyncio.timeout(7 * 86400):
                return await work
        except LedgerFull as error:
            is_meant = self.fate.ending is Ending.LEDGER_FULL and of_error(error) is ExitCode.LEDGER
        except asyncio.CancelledError:
            is_meant = self.fate.ending is Ending.ABORT
        assert is_meant, self.fate
        return None

    async def _feed(self) -> AsyncGenerator[list[JobSpec]]:
        """The manifest, in batches of any size."""
        specs, rng, at = list(self.world.manifest.specs), self.world.rng, 0
        while at < len(specs):
            size = rng.randint(1, 10)
            yield specs[at : at + size]
            at += size
            await self._own.sleep(rng.choice([0, 0, 0.5, 3]))

    # --- what must be true when it ends in order

    def _check(self, result: RunResult) -> None:
        counts, world = result.counts, self.world
        assert not counts.of(JobState.SUBMITTING), "a request was not waited for"
        rows = world.report.read_bytes().count(b"\n")
        assert rows == counts.total - counts.of(*OPEN), "report and ledger differ"
        assert result.calls.submits >= len(self.watch.sent)
        if self._is_corrected_twice(result):
            return
        if result.cut_short is None and result.error is None:
            assert result.is_over
            failed = counts.of(JobState.FAILED, JobState.REJECTED, JobState.CANCELLED)
            assert of_result(result) is (ExitCode.JOBS_FAILED if failed else ExitCode.OK)
        else:
            assert result.stopped is not None
            assert (result.stopped.kind, of_result(result)) == _EXIT.get(self.fate.ending), (
                f"{result.stopped} {result.error!r}"
            )
        is_told_by_wall_clock = self.fate.ending is Ending.WINDOW
        if self.fate.ending in _TIMED and (self.fate.has_steady_clock or not is_told_by_wall_clock):
            self._check_end()
        if self.fate.ending is Ending.COST:
            self._check_cost()

    def _is_corrected_twice(self, result: RunResult) -> bool:
        """One correction of the clock is made for a job in a row; a clock that is wrong once more stops the run."""
        is_twice = isinstance(result.error, ClockSkewed)
        assert not is_twice or not self.fate.has_steady_clock
        return is_twice

    def _check_end(self) -> None:
        """It waits for answers, and for what is in doubt, no longer."""
        settings, weather = self.world.settings, self.world.weather
        grace_s = (
            settings.settle_s + 2 * (settings.reply_timeout_s + 2 * weather.latency_s) + 60.0 + 2.0
        )
        assert self._loop.time() - self._began_at <= self.fate.at_s + grace_s, (
            "it went on after it was told to stop"
        )

    def _check_cost(self) -> None:
        """What this visit sent, and did not fail, costs no more than it may."""
        made = [job for job in self.world.service.jobs.values() if job.spec.key in self.watch.sent]
        paid = [job for job in made if job.accepted_at >= self._began_at and not job.code]
        assert len(paid) * JOB_COST <= (self._bounds().max_cost or 0.0) + 1e-6, (
            "max_cost was passed"
        )
