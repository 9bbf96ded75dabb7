"""Visit after visit of the real engine to one ledger, against a service whose faults are drawn from a seed.

What a seed draws is in ``drawing``; how one visit goes in ``visit``; what must hold at every moment in ``watch`` and ``turns``; what must
be true in the end in ``verdict``.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.clock import SystemClock
from orchestrator.testing.memory_ledger import MemoryStore
from orchestrator.testing.service import FakeService
from tests.simulation.drawing import RETRIES, Manifest, draw_fate, draw_settings, draw_weather
from tests.simulation.verdict import check
from tests.simulation.visit import Visit

if TYPE_CHECKING:
    from orchestrator.domain.spec import JobKey
    from orchestrator.domain.states import JobState
    from orchestrator.runner.result import RunResult

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - syncs cost nothing there
_TOLD_EVENTS = 60


class World:
    """Everything that outlives a process: the service, the ledger's content, the report, time.

    Args:
        seed: Decides all chance.
        folder: Where the report goes.
        is_mirrored: A ledger in SQLite lives through the same, beside the one in memory, and is compared with it all the time.
    """

    def __init__(self, seed: int, folder: Path, *, is_mirrored: bool) -> None:
        self.rng = random.Random(seed)
        self.report = folder / "report.jsonl"
        self.store = MemoryStore()
        self.mirrored_in = folder / "ledger.db" if is_mirrored else None
        self.weather = draw_weather(self.rng)
        self.settings = draw_settings(self.rng, self.weather)
        self.manifest = Manifest(self.rng)
        self.rate_per_s = self.rng.choice([2.0, 7.5, 50.0])
        self.service = FakeService(
            SystemClock(), self.rng, self.weather
        )  # each visit brings its own clock
        self.nights = self.rng.choice([1, 1, 1, 2])
        self.misfortunes = self.rng.choice([0, 1, 2, 5])
        self.now = 0.0
        self.visits: list[Visit] = []
        self.named: dict[int, set[JobKey]] = defaultdict(set)
        """By number of a run, the keys that its visits named."""
        self.removed: set[JobKey] = set()
        """Keys that were not in the manifest of some visit that knew of them."""
        self.reached: Counter[JobKey] = Counter()
        """POSTs that may have reached the service, by key."""
        self.deaths = 0
        """Visits that did not end in order: what they had recorded as about to be sent counts as sent."""
        self.run_of_send: dict[JobKey, int] = {}
        """Number of the run that sent a key last."""

    def live(self) -> None:
        """Night after night, until the run of the last one has ended; each is checked."""
        for night in range(self.nights):
            if night:
                self.manifest.change()
            check(self, self._until_complete(self.rng.choice(RETRIES) if night else frozenset()))

    def _until_complete(self, retry: frozenset[JobState]) -> RunResult:
        while True:
            result = self._visit(retry)
            if result is not None and result.is_over:
                return result
            self.now += self.rng.choice([0.0, 1.0, 40.0])
            if self.rng.random() < 0.3:
                self.manifest.change()

    def _visit(self, retry: frozenset[JobState]) -> RunResult | None:
        fate = draw_fate(self.rng, ends_well=self.misfortunes <= 0)
        self.misfortunes -= 1
        self.visits.append(Visit(self, len(self.visits) + 1, fate, retry))
        before = self.store.visit
        result = self.visits[-1].carry_out()
        self.deaths += result is None
        self.reached += self.visits[-1].watch.reached
        if self.store.visit > before:
            self._note_what_was_named()
        return result

    def _note_what_was_named(self) -> None:
        """Also what the ledger took just before the process died."""
        run = self.store.runs[-1].number
        named = {key for key, visit in self.store.visits.items() if visit == self.store.visit}
        self.named[run] |= named
        self.removed |= self.store.jobs.keys() - self.manifest.keys
        self.run_of_send.update(dict.fromkeys(self.visits[-1].watch.sent, run))

    def story(self) -> str:
        """What a failing seed tells."""
        lines = [
            f"{self.weather}",
            f"{self.settings}",
            f"{self.rate_per_s} POSTs/s, {len(self.manifest.specs)} jobs",
        ]
        lines += [f"visit {visit.number}: {visit.fate}" for visit in self.visits]
        lines += [f"{at:10.3f} {event}" for at, event in self.visits[-1].events[-_TOLD_EVENTS:]]
        return "\n".join(lines)


def simulate(seed: int, *, is_mirrored: bool = False) -> World:
    """Live through one seed, checked; a failure tells its story."""
    with tempfile.TemporaryDirectory(
        dir=_SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    ) as folder:
        world = World(seed, Path(folder), is_mirrored=is_mirrored)
        try:
            world.live()
        except BaseException as error:
            error.add_note(
                f"{world.story()}\nseed {seed}: to run it alone, ORCH_SEED={seed} pytest tests/simulation/test_simulation.py"
            )
            raise
        return world
