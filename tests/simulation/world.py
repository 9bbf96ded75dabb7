"""Process after process of the real runner on one ledger, against a service with drawn faults.

``drawing`` draws everything from a seed; ``process`` runs one process; ``watch`` and ``turns``
check what must hold at every moment; ``verdict`` checks the end of a run.
"""

from __future__ import annotations

import contextlib
import copy
import random
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.clock import SystemClock
from orchestrator.domain.states import TERMINAL
from orchestrator.testing.memory_ledger import MemoryStore
from orchestrator.testing.oddities import Oddities
from orchestrator.testing.service import FakeService
from orchestrator.testing.weather import Trouble
from tests.simulation.drawing import RETRIES, Manifest, draw_scenario, draw_settings, draw_weather
from tests.simulation.process import Process
from tests.simulation.verdict import check
from tests.simulation.watch import is_seen

if TYPE_CHECKING:
    from collections.abc import Generator

    from orchestrator.domain.spec import JobKey
    from orchestrator.domain.states import JobState
    from orchestrator.runner.result import RunResult
    from orchestrator.testing.weather import Weather

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - syncs cost nothing there
_SHOWN_EVENTS = 60


@dataclass
class _Backup:
    """A copy of the ledger, and what this file knows about it."""

    store: MemoryStore
    named: dict[int, set[JobKey]] = field(default_factory=lambda: defaultdict(set))
    run_of_send: dict[JobKey, int] = field(default_factory=dict)
    canary_sent: set[JobKey] = field(default_factory=set)
    canary_run: int = 0


class World:
    """Everything that outlives a process: the service, the ledger's content, the report, time.

    Args:
        seed: Seed of all random draws.
        folder: Folder of the report and of the mirror.
        is_mirrored: Compare the ledger in memory with a SQLite ledger at every change.
        beside: Another world with the same service: two runs of one account.
    """

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        is_mirrored: bool,
        beside: World | None = None,
        database: str | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.is_alone = True
        self.report = folder / "report.jsonl"
        self.store = MemoryStore()
        self.mirrored_in = (database or folder / "ledger.db") if is_mirrored else None
        self.weather: Weather = draw_weather(self.rng) if beside is None else beside.weather
        self.settings = draw_settings(self.rng, self.weather)
        self.manifest = Manifest(self.rng, 0 if beside is None else 10_000)
        self.rate_per_s = self.rng.choice([2.0, 7.5, 50.0])
        # Each process replaces the clock.
        self.service = FakeService(SystemClock(), self.rng, self.weather)
        if beside is not None:
            self.service = beside.service
            self.is_alone = beside.is_alone = False
        self.leftovers = self.rng.choice(["keep", "finish", "drop"])
        self.canary = self.rng.choice([0, 0, 0, 1, 3, 10])
        self.reports_all = bool(seed % 2)
        self.run_count = self.rng.choice([1, 1, 1, 2])
        self.disturbances = self.rng.choice([0, 1, 2, 5])
        # A ledger that was restored while the list lags cannot know what it does not show yet.
        # A list without readable keys cannot show what it has had done.
        odd = self.weather.oddities
        can_lose = not (is_mirrored or odd.least_lag_s or odd.early_until)
        self.losses = self.rng.choice([0.0, 0.0, 0.3]) if can_lose else 0.0
        self.now = 0.0
        self.processes: list[Process] = []
        self.named: dict[int, set[JobKey]] = defaultdict(set)
        """By number of a run: the keys that its processes added."""
        self.removed: set[JobKey] = set()
        """Keys that a later manifest did not name."""
        self.has_lost_ledger = False
        """The ledger was lost, or replaced by an earlier copy of itself, at least once."""
        self._backups: list[_Backup] = []
        self.run_of_send: dict[JobKey, int] = {}
        """By key: number of the run that sent it last."""
        self.canary_sent: set[JobKey] = set()
        """Keys that were sent while the present canary was undecided."""
        self._canary_run = 0

    @property
    def counts_depth(self) -> bool:
        """True if every job at the service holds a slot of the runner.

        A ledger that was lost does not know them all, and a job in doubt that cannot be looked up
        gives its slot back.
        """
        is_odd = self.weather.oddities != Oddities()
        return self.is_alone and not (self.has_lost_ledger or self.has_refusals or is_odd)

    @property
    def has_refusals(self) -> bool:
        """True if the service refuses a bucket for a while."""
        return any(spell.trouble is Trouble.REFUSED for spell in self.weather.spells)

    def run(self) -> None:
        """Finish one run after the other, and check each."""
        steps = self.steps()
        with contextlib.suppress(StopIteration):
            process = next(steps)
            while True:
                process = steps.send(process.run())

    def steps(self) -> Generator[Process, RunResult | None]:
        """Yield the processes to run, and receive their results; check each run."""
        for number in range(self.run_count):
            if number:
                self.manifest.change()
            retry = self.rng.choice(RETRIES) if number else frozenset()
            check(self, (yield from self._until_complete(retry)))
            while self._has_dropped_jobs():
                # They were named again while the run that had cancelled them was open.
                self.run_count += 1
                check(self, (yield from self._until_complete(frozenset())))

    def _has_dropped_jobs(self) -> bool:
        jobs = self.store.jobs
        return any(key in jobs and jobs[key].was_dropped for key in self.manifest.keys)

    def begin_canary(self) -> None:
        """Forget what the last canary sent, if it was decided or belongs to another run."""
        run = self.store.runs[-1].number if self.store.is_open else 0
        jobs = [self.store.jobs[key] for key in self.canary_sent]
        ended = [job for job in jobs if job.state in TERMINAL and not job.was_dropped]
        has_failed = not all(is_seen(job) for job in ended)
        has_passed = sum(is_seen(job) for job in ended) >= self.canary
        if run != self._canary_run or has_failed or has_passed:
            self.canary_sent = set()

    def _until_complete(
        self, retry: frozenset[JobState]
    ) -> Generator[Process, RunResult | None, RunResult]:
        while True:
            result = yield from self._run_process(retry)
            if result is not None and result.is_over:
                return result
            self.now += self.rng.choice([0.0, 1.0, 40.0])
            if self.rng.random() < 0.3:
                self.manifest.change()
            if self.rng.random() < self.losses:
                self._lose_ledger()

    def _lose_ledger(self) -> None:
        """Go on with an earlier copy of the ledger, or with none.

        Some time later: the service's list shows a job only after its lag.
        """
        backup = self.rng.choice([_Backup(MemoryStore()), *self._backups])
        self.has_lost_ledger = True
        self.now += 300.0
        kept = copy.deepcopy(backup)
        self.store, self.named, self.run_of_send = kept.store, kept.named, kept.run_of_send
        self.store.lose_holder()
        self.canary_sent, self._canary_run = kept.canary_sent, kept.canary_run
        self.report = self.report.with_name(f"report-{len(self.processes)}.jsonl")
        self.store.runs = [replace(run, report=str(self.report)) for run in self.store.runs]

    def _run_process(
        self, retry: frozenset[JobState]
    ) -> Generator[Process, RunResult | None, RunResult | None]:
        scenario = draw_scenario(self.rng, ends_well=self.disturbances <= 0)
        self.disturbances -= 1
        self.processes.append(Process(self, len(self.processes) + 1, scenario, retry))
        self.begin_canary()
        before = self.store.visit
        if self.losses:
            backup = _Backup(
                self.store, self.named, self.run_of_send, self.canary_sent, self._canary_run
            )
            self._backups.append(copy.deepcopy(backup))
        result = yield self.processes[-1]
        self._canary_run = self.store.runs[-1].number if self.store.runs else 0
        if self.store.visit > before:
            self._note_named_keys()
        return result

    def _note_named_keys(self) -> None:
        """Note the keys that the ledger has taken, even just before the process died."""
        run = self.store.runs[-1].number
        named = {key for key, visit in self.store.visits.items() if visit == self.store.visit}
        self.named[run] |= named
        self.removed |= self.store.jobs.keys() - self.manifest.keys
        self.run_of_send.update(dict.fromkeys(self.processes[-1].watch.sent, run))

    def description(self) -> str:
        """Describe a failing seed: its draws, and the last events."""
        lines = [
            f"{self.weather}",
            f"{self.settings}",
            f"{self.rate_per_s} POSTs/s, {len(self.manifest.specs)} jobs",
            f"leftovers: {self.leftovers}, canary: {self.canary}",
        ]
        lines += [f"process {process.number}: {process.scenario}" for process in self.processes]
        lines += [f"{at:10.3f} {event}" for at, event in self.processes[-1].events[-_SHOWN_EVENTS:]]
        return "\n".join(lines)


def simulate(seed: int, *, is_mirrored: bool = False, database: str | None = None) -> World:
    """Simulate one seed with all checks; a failure carries its description.

    ``database`` is the address of the mirror; by default it is a SQLite file.
    """
    with tempfile.TemporaryDirectory(
        dir=_SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    ) as folder:
        world = World(seed, Path(folder), is_mirrored=is_mirrored, database=database)
        try:
            world.run()
        except BaseException as error:
            error.add_note(
                f"{world.description()}\nseed {seed}: to run it alone, "
                f"ORCH_SEED={seed} pytest tests/simulation/test_simulation.py"
            )
            raise
        return world
