"""One process of the real runner in virtual time, from the lease to its end."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson
import pytest

from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.client.service_clock import ServiceClock
from orchestrator.client.wire.error_codes import is_transient_job_code
from orchestrator.commands.exit_codes import ExitCode, of_error, of_result
from orchestrator.domain.events import (
    CanaryPassed,
    JobEnded,
    JobsPlanned,
    Noticed,
    Stopping,
)
from orchestrator.domain.states import OPEN, TERMINAL, JobState
from orchestrator.errors import (
    BucketRefused,
    ClockSkewed,
    Interruption,
    LedgerError,
    LedgerFull,
    LedgerLocked,
)
from orchestrator.runner.budget import Bounds, Budget
from orchestrator.runner.ports import Ports
from orchestrator.runner.runner import Runner
from orchestrator.runner.settings import RunnerOptions
from orchestrator.testing.builders import make_holder
from orchestrator.testing.loop import CrashError, LoopClock, VirtualTimeLoop, kill
from orchestrator.testing.memory_ledger import MemoryLedger
from tests.simulation.client import Client, Keys
from tests.simulation.doubles import skip_sync
from tests.simulation.drawing import Ending, Scenario
from tests.simulation.mirror import Mirror, MirroredLedger
from tests.simulation.watch import COMMIT_S, CanaryWatch, Watch, WatchedLedger, is_seen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

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
    Ending.PROXY: ("error", ExitCode.CREDENTIALS),
    Ending.KEYS: ("error", ExitCode.CREDENTIALS),
    Ending.CLOCK: ("error", ExitCode.CREDENTIALS),
}
"""By ending: the kind of interruption and the exit code."""
PRICE_PER_MIN = 1.0
JOB_COST = 2 * 12.5 / 60 * PRICE_PER_MIN  # two stems of the fake service's 12.5 s


@dataclass(frozen=True, slots=True)
class Hours:
    """Hours that close at some instant of the wall clock."""

    closes_at: float

    def is_open(self, now: float) -> bool:
        """See ``watch.OpenHours``."""
        return now < self.closes_at

    def next_change(self, now: float) -> float:
        """See ``watch.OpenHours``."""
        return self.closes_at if now < self.closes_at else self.closes_at + 86400.0


@dataclass
class Process:
    """One process that works on the ledger.

    Attributes:
        world: The world that outlives it.
        number: Number of the process, from 1.
        scenario: Everything that happens to it.
        retry: States to retry.
        events: Its events with their instants.
    """

    world: World
    number: int
    scenario: Scenario
    retry: frozenset[JobState]
    events: list[tuple[float, Event]] = field(default_factory=list)
    _mirror: Mirror | None = None
    _rivals: list[asyncio.Task[None]] = field(default_factory=list)

    def run(self) -> RunResult | None:
        """Return the result, or None if the process was killed or ended by an error."""
        world, scenario = self.world, self.scenario
        loop = VirtualTimeLoop(
            world.now, scenario.after if scenario.ending in _DEAD else None, scenario.within
        )
        try:
            return loop.run_until_complete(self.main(loop))
        except CrashError:
            self.die()
            return None
        finally:
            world.now = loop.time()
            kill(loop)

    def die(self) -> None:
        """Take the consequences of a crash."""
        self.world.store.lose_holder()
        if self._mirror is not None:
            self._mirror.die()
        if self.scenario.ending is Ending.POWER_CUT:
            self._lose_unsynced_bytes()

    def emit(self, event: Event) -> None:
        """``EventSink``."""
        now = self._clock.monotonic()
        self.watch.hear(event)
        self.events.append((now, event))
        if isinstance(event, JobsPlanned):
            self.watch.taken_in()
        if isinstance(event, CanaryPassed):
            self.watch.canary.passed()
        if isinstance(event, Stopping):
            self.watch.stopped_at = now
        if isinstance(event, JobEnded) and event.state in (JobState.FAILED, JobState.REJECTED):
            self.watch.failed_at.append(now)

    def _lose_unsynced_bytes(self) -> None:
        report = self.world.report
        if report.exists():
            mark = orjson.loads(self.world.store.memory.get("report", b"{}"))
            synced = min(mark.get("bytes", 0), report.stat().st_size)
            os.truncate(report, self.world.rng.randint(synced, report.stat().st_size))

    # --- the parts

    async def main(self, loop: VirtualTimeLoop) -> RunResult | None:
        """Run in a loop that another process may share."""
        world = self.world
        self._loop = loop
        self._started_at = loop.time()
        world.service.clock = LoopClock(loop)
        self._own = LoopClock(loop)
        self._own.epoch += self.scenario.clock_error_s
        client = Client(
            world.service,
            self._own,
            self._keys(),
            tells_time=self.scenario.ending is not Ending.CLOCK,
        )
        if self.scenario.ending is Ending.PROXY:
            client.proxy_asks_from = self._started_at + self.scenario.at_s
        self._clock = ServiceClock(self._own, client)  # type: ignore[arg-type]  # has the offset
        self.watch = client.watch = Watch(
            world.store,
            world.service,
            self._clock,
            world.settings,
            rate_per_s=world.rate_per_s,
            allowed=None if world.leftovers == "finish" else world.manifest.keys,
            canary=CanaryWatch(world.canary, world.canary_sent, world.store, world.manifest.keys),
            has_steady_clock=self.scenario.has_steady_clock,
        )
        self.watch.counts_depth = world.counts_depth
        self.watch.checks_turns = not world.has_refusals
        if (most := self._bounds().max_failures) is not None:
            self.watch.max_failures = most
        self._limiter = AdaptiveLimiter(world.rate_per_s, self._clock)
        client.departures = self._limiter.space()
        ledger = self._ledger()
        self._commits = 0
        await ledger.acquire(make_holder(pid=self.number))
        self._runner = self._build(client, ledger)
        self._arrange()
        result = await self._run()
        await asyncio.gather(*self._rivals)
        await ledger.close()
        assert not world.is_alone or len(asyncio.all_tasks()) == 1, "a task was left behind"
        if result is not None:
            self._check(result)
        return result

    def _ledger(self) -> WatchedLedger:
        if self.world.mirrored_in is None:
            return WatchedLedger(self.world.store, self.watch, self._commit)
        self._mirror = Mirror(self.world.mirrored_in)
        return MirroredLedger(self.world.store, self.watch, self._commit, self._mirror)

    def _keys(self) -> Keys:
        clock, scenario = self.world.service.clock, self.scenario
        if scenario.ending is Ending.KEYS:
            return Keys(clock, self._started_at + scenario.at_s, is_renewed=False)
        expires_at = (
            None if scenario.renewed_at_s is None else self._started_at + scenario.renewed_at_s
        )
        return Keys(clock, expires_at, is_renewed=True)

    def _build(self, client: Client, ledger: WatchedLedger) -> Runner:
        world, scenario = self.world, self.scenario
        parts = Ports(
            ledger=ledger,
            service=client,
            store=client,
            submit_limiter=self._limiter,
            query_limiter=AdaptiveLimiter(20, self._clock),
            list_limiter=AdaptiveLimiter(20, self._clock),
            look_limiter=AdaptiveLimiter(100, self._clock),
            clock=self._clock,
            rng=world.rng,
            sink=self,
            is_transient=is_transient_job_code,
            settings=world.settings,
            off_loop=skip_sync,
        )
        return Runner(
            parts,
            RunnerOptions(
                name="sim",
                report=str(world.report),
                reports_all=world.reports_all,
                retry=self.retry,
                budget=Budget(self._bounds()),
                deadline_s=scenario.at_s if scenario.ending is Ending.DEADLINE else None,
                window=Hours(self._clock.now() + scenario.at_s - 0.1)
                if scenario.ending is Ending.WINDOW
                else None,
                leftovers=world.leftovers,
                canary=world.canary,
            ),
        )

    def _bounds(self) -> Bounds:
        match self.scenario.ending:
            case Ending.FAILURES:
                return Bounds(max_failures=self.scenario.after % 4)
            case Ending.COST:
                return Bounds(max_cost=8.0 + self.scenario.after % 12, price_per_min=PRICE_PER_MIN)
            case _:
                return Bounds()

    async def _commit(self) -> None:
        """Pause before a change of the ledger takes effect, and before it is acknowledged."""
        self._commits += 1
        if self.scenario.ending is Ending.LEDGER_FULL and self._commits >= self.scenario.after // 8:
            raise LedgerFull
        await self._own.sleep(self.world.rng.choice([0, 0, 0.003, COMMIT_S]))

    # --- events of the scenario

    def _arrange(self) -> None:
        scenario, call_later = self.scenario, self._loop.call_later
        if scenario.clock_set is not None:
            at_s, error_s = scenario.clock_set
            right = LoopClock(self._loop).epoch
            call_later(at_s, lambda: setattr(self._own, "epoch", right + error_s))
        if scenario.ending in (Ending.SIGNAL, Ending.ABORT):
            call_later(
                scenario.at_s, lambda: self._runner.stop(Interruption("signal", "interrupted"))
            )
        if scenario.rival_at_s is not None:
            call_later(
                scenario.rival_at_s,
                lambda: self._rivals.append(self._loop.create_task(self._compete())),
            )
        self.world.service.on_end = self._call_back if scenario.is_called_back else None

    def _call_back(self, job_id: str) -> None:
        """Send the callback once, twice or never."""
        for _ in range(self.world.rng.choice([0, 1, 2])):
            self._runner.hint(job_id)

    async def _compete(self) -> None:
        """Start a second run on the same ledger; it must name the holder and change nothing."""
        store = self.world.store
        if store.holder is None or store.holder.pid != self.number:
            return  # the first run has just ended
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
        """Return the runner's result, or None if an error ended it."""
        work = self._loop.create_task(self._runner.run(self._feed()))
        if self.scenario.ending is Ending.ABORT:
            self._loop.call_later(self.scenario.at_s + self.scenario.within, work.cancel)
        try:
            async with asyncio.timeout(86400):
                return await work
        except LedgerFull as error:
            is_expected = (
                self.scenario.ending is Ending.LEDGER_FULL and of_error(error) is ExitCode.LEDGER
            )
        except asyncio.CancelledError:
            is_expected = self.scenario.ending is Ending.ABORT
        assert is_expected, self.scenario
        return None

    async def _feed(self) -> AsyncGenerator[list[JobSpec]]:
        """Yield the manifest in batches of random size."""
        specs, rng, at = list(self.world.manifest.specs), self.world.rng, 0
        while at < len(specs):
            size = rng.randint(1, 10)
            yield specs[at : at + size]
            at += size
            await self._own.sleep(rng.choice([0, 0, 0.5, 3]))

    # --- checks of an orderly end

    def _check_left_in_doubt(self, result: RunResult) -> None:
        """Check that jobs stay in doubt only where nothing shows that the list works, and aloud."""
        assert of_result(result) is ExitCode.UNFINISHED
        notices = [event.text for _, event in self.events if isinstance(event, Noticed)]
        assert any("in doubt and unsent" in text for text in notices), "a job was left in silence"

    def _check(self, result: RunResult) -> None:
        counts, world = result.counts, self.world
        assert not counts.of(JobState.SUBMITTING), "a request was not waited for"
        rows = world.report.read_bytes().count(b"\n")
        left_out = 0 if world.reports_all else counts.skipped
        assert rows == counts.total - counts.of(*OPEN) - left_out, "report and ledger differ"
        assert result.calls.submits >= len(self.watch.sent)
        if self._is_corrected_twice(result):
            return
        if result.stopped is not None and result.stopped.kind == "canary":
            self._check_failed_canary(result)
            return
        if isinstance(result.error, BucketRefused):
            assert of_result(result) is ExitCode.CREDENTIALS
        elif counts.of(*OPEN) == counts.of(JobState.IN_DOUBT) > 0 and result.stopped is None:
            self._check_left_in_doubt(result)
        elif result.cut_short is None and result.error is None:
            assert result.is_over
            failed = counts.of(JobState.FAILED, JobState.REJECTED, JobState.CANCELLED)
            assert of_result(result) is (ExitCode.JOBS_FAILED if failed else ExitCode.OK)
        else:
            assert result.stopped is not None
            assert (result.stopped.kind, of_result(result)) == _EXIT.get(self.scenario.ending), (
                f"{result.stopped} {result.error!r}"
            )
        is_by_wall_clock = self.scenario.ending is Ending.WINDOW
        if self.scenario.ending in _TIMED and (
            self.scenario.has_steady_clock or not is_by_wall_clock
        ):
            self._check_end()
        if self.scenario.ending is Ending.COST:
            self._check_cost()

    def _check_failed_canary(self, result: RunResult) -> None:
        """Check that a job of the canary did fail, and that the run says so."""
        jobs = [self.world.store.jobs[key] for key in self.watch.canary.sent]
        bad = TERMINAL | {JobState.IN_DOUBT}
        assert any(job.state in bad and not is_seen(job) for job in jobs)
        assert result.canary is not None
        assert result.canary.result == "failed"
        assert of_result(result) is ExitCode.STOPPED

    def _is_corrected_twice(self, result: RunResult) -> bool:
        """Return True if the clock was wrong twice in a row for one job, which stops the run."""
        is_twice = isinstance(result.error, ClockSkewed)
        assert not is_twice or not self.scenario.has_steady_clock
        return is_twice

    def _check_end(self) -> None:
        """Check that the run waits no longer than its grace for answers and jobs in doubt."""
        settings, weather = self.world.settings, self.world.weather
        grace_s = (
            settings.settle_s + 2 * (settings.reply_timeout_s + 2 * weather.latency_s) + 60.0 + 7.0
        )
        assert self._loop.time() - self._started_at <= self.scenario.at_s + grace_s, (
            f"the run continued after its stop: {self._loop.time() - self._started_at:.1f} s"
        )

    def _check_cost(self) -> None:
        """Check the cost of the jobs that this process sent and that did not fail."""
        made = [job for job in self.world.service.jobs.values() if job.spec.key in self.watch.sent]
        paid = [job for job in made if job.accepted_at >= self._started_at and not job.code]
        assert len(paid) * JOB_COST <= (self._bounds().max_cost or 0.0) + 1e-6, (
            "max_cost was exceeded"
        )
