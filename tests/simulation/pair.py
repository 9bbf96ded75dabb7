"""Two runs of one account at the same time, with two ledgers, in one bucket and under one limit.

The machine may crash under both.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.testing.loop import CrashError, VirtualTimeLoop, kill
from tests.simulation.drawing import Ending
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from orchestrator.runner.result import RunResult
    from tests.simulation.process import Process

_DEAD = (Ending.CRASH, Ending.POWER_CUT)


@dataclass
class _Side:
    """One of the two runs.

    Attributes:
        world: Its ledger, manifest and report.
        process: The process to run next, or None if all have ended.
        is_running: The process has begun.
    """

    world: World
    process: Process | None = None
    is_running: bool = False
    _steps: Generator[Process, RunResult | None] | None = None

    def advance(self, result: RunResult | None, now: float) -> None:
        """Take the result of a process, and find the next one."""
        self.world.now, self.is_running = now, False
        if self._steps is None:
            self._steps = self.world.steps()
        self.process = None
        with contextlib.suppress(StopIteration):
            # The first call takes None too.
            self.process = self._steps.send(result)
        if self.process is not None and self.process.scenario.ending in _DEAD:
            # It dies with the machine, together with the other.
            self.process.scenario = replace(self.process.scenario, ending=Ending.WELL)

    async def work(self, loop: VirtualTimeLoop) -> None:
        """Run process after process."""
        while self.process is not None:
            await asyncio.sleep(max(self.world.now - loop.time(), 0.0))  # noqa: TID251 - virtual
            self.is_running = True
            self.advance(await self.process.main(loop), loop.time())

    def crash(self, now: float) -> None:
        """End the process, if one runs, as the machine does."""
        if self.process is not None and self.is_running:
            self.process.die()
            self.advance(None, now)


class Pair:
    """Two worlds beside each other.

    Args:
        seed: Seed of all random draws.
        folder: Folder of the reports.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self._rng = random.Random(seed)
        worlds: list[World] = []
        for number in (1, 2):
            place = folder / str(number)
            place.mkdir()
            beside = worlds[0] if worlds else None
            worlds.append(World(2 * seed + number, place, is_mirrored=False, beside=beside))
        worlds[0].weather.account_per_s = self._rng.choice([2, 10, 1000])
        self.sides = [_Side(world) for world in worlds]

    def run(self) -> None:
        """Finish both, with all checks of each."""
        now = 0.0
        for side in self.sides:
            side.advance(None, now)
        crashes = self._rng.choice([0, 1, 3])
        while any(side.process is not None for side in self.sides):
            turns = int(10 ** self._rng.uniform(0.5, 3.5)) if crashes > 0 else None
            crashes -= 1
            loop = VirtualTimeLoop(now, turns, self._rng.random())
            try:
                loop.run_until_complete(self._both(loop))
            except CrashError:
                for side in self.sides:
                    side.crash(loop.time())
            finally:
                now = loop.time()
                kill(loop)

    async def _both(self, loop: VirtualTimeLoop) -> None:
        await asyncio.gather(*(side.work(loop) for side in self.sides))
