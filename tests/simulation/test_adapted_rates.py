"""Rates of queries and lists recover after an outage."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.errors import ApiAnswer, ConnectFailed, OrchestratorError, Throttled
from orchestrator.testing.builders import make_specs
from orchestrator.testing.loop import LoopClock, run_virtual
from orchestrator.testing.weather import Fault, Weather
from tests.simulation.doubles import replace_method
from tests.simulation.rig import Rig

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.spec import Place


async def rates_after(
    folder: Path, outage: OrchestratorError, outage_s: float
) -> tuple[float, float, float]:
    """Let every read fail with ``outage`` for a while.

    Return the lowest rate, and the rates of queries and lists at the end of the run.
    """
    clock = LoopClock(asyncio.get_running_loop())
    queries, lists = AdaptiveLimiter(20.0, clock), AdaptiveLimiter(20.0, clock)
    weather = Weather(faults={Fault.NONE: 2.0, Fault.DROP: 1.0}, job_s=30, concurrency=20)
    rig = Rig(folder, weather=weather, rate_per_s=2.0, query_limiter=queries, list_limiter=lists)
    trip = rig.service._trip
    lowest = [20.0]

    async def cut_trip(place: Place) -> None:
        if 10 < clock.monotonic() < 10 + outage_s:
            lowest[0] = min(lowest[0], queries.rate_per_s, lists.rate_per_s)
            raise outage
        await trip(place)

    replace_method(rig.service, "_trip", cut_trip)  # each read awaits it
    async with asyncio.timeout(86400):
        await rig.run(make_specs(200))
    return lowest[0], queries.rate_per_s, lists.rate_per_s


def test_an_hour_without_network_does_not_slow_later_reads(tmp_path: Path) -> None:
    lowest, queries, lists = run_virtual(rates_after(tmp_path, ConnectFailed(), 3600))

    assert (lowest, queries, lists) == (20.0, 20.0, 20.0)


def test_throttled_reads_regain_their_rate_once_they_are_answered(tmp_path: Path) -> None:
    lowest, queries, lists = run_virtual(
        rates_after(tmp_path, Throttled(ApiAnswer(429, "SlowDown", "too fast")), 60)
    )

    assert lowest < 10.0
    assert queries > 1.5 * lowest
    assert lists > 1.5 * lowest
