"""One run of the real runner in virtual time, for tests that set up one failure by hand."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any

from orchestrator.runner.ports import Ports
from orchestrator.runner.runner import Runner
from orchestrator.runner.settings import RunnerOptions, RunnerSettings
from orchestrator.testing.builders import make_holder
from orchestrator.testing.loop import LoopClock
from orchestrator.testing.memory_ledger import MemoryLedger, MemoryStore
from orchestrator.testing.service import FakeService
from tests.simulation.doubles import Recorder, VirtualLimiter, skip_sync

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from orchestrator.domain.spec import JobSpec
    from orchestrator.errors import Interruption
    from orchestrator.runner.result import RunResult
    from orchestrator.testing.weather import Weather


class Rig:
    """All parts of a run. A test changes the ones it is about, then calls :meth:`run`.

    Build it inside the loop.

    Args:
        folder: Folder of the report.
        settings: The runner's bounds.
        weather: Conditions at the service.
        store: Content of a ledger from an earlier run.
        service: Service of an earlier run.
        rate_per_s: Submits per second.
        parts: Other fields of ``Ports``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        settings: RunnerSettings | None = None,
        weather: Weather | None = None,
        store: MemoryStore | None = None,
        service: FakeService | None = None,
        rate_per_s: float = 50.0,
        **parts: Any,
    ) -> None:
        self.clock = LoopClock(asyncio.get_running_loop())
        self.service = service or FakeService(self.clock, random.Random(1), weather)
        self.service.clock = self.clock
        self.store = store or MemoryStore()
        self.ledger = MemoryLedger(self.store)
        self.recorder = Recorder()
        self.report = folder / "report.jsonl"
        self.runner: Runner | None = None
        fields: dict[str, Any] = {
            "ledger": self.ledger,
            "service": self.service,
            "store": self.service,
            "submit_limiter": VirtualLimiter(self.clock, rate_per_s),
            "query_limiter": VirtualLimiter(self.clock, 20),
            "list_limiter": VirtualLimiter(self.clock, 20),
            "look_limiter": VirtualLimiter(self.clock, 100),
            "clock": self.clock,
            "rng": random.Random(2),
            "sink": self.recorder,
            "is_transient": lambda code: code == "InternalError",
            "settings": settings or RunnerSettings(),
            "off_loop": skip_sync,
        }
        self.parts = Ports(**(fields | parts))

    async def run(self, *batches: list[JobSpec], pause_s: float = 0.0, **options: Any) -> RunResult:
        """Run these specs in batches with a pause between; ``options`` are ``RunnerOptions``."""

        async def feed() -> AsyncGenerator[list[JobSpec]]:
            for number, batch in enumerate(batches):
                if number:
                    await self.clock.sleep(pause_s)
                yield batch

        return await self.run_feed(feed(), **options)

    async def run_feed(self, feed: AsyncGenerator[list[JobSpec]], **options: Any) -> RunResult:
        """Run the specs of a feed."""
        await self.ledger.acquire(make_holder())
        self.runner = Runner(
            self.parts,
            RunnerOptions(name="rig", report=str(self.report), reports_all=True, **options),
        )
        try:
            return await self.runner.run(feed)
        finally:
            await self.ledger.close()

    def stop(self, why: Interruption) -> None:
        """Stop the run, as a signal does."""
        assert self.runner is not None
        self.runner.stop(why)

    def after(self, delay_s: float, act: Callable[[], object]) -> None:
        """Call ``act`` after ``delay_s`` seconds."""
        asyncio.get_running_loop().call_later(delay_s, act)

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the report."""
        return [json.loads(line) for line in self.report.read_bytes().splitlines()]
