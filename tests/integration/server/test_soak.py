"""Mixed load with faults: no growth, no leak, no lost job, and a clean close with running jobs."""

from __future__ import annotations

import asyncio
import os
import random
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from orchestrator.domain.clock import SystemClock
from orchestrator.server.faults.script import Faults
from orchestrator.server.pace import Pace, Progression

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.server.conftest import Bench, Benches

COS = "media-1250000000.cos.ap-chongqing.myqcloud.com"
FAULTS = {
    "seed": 1,
    "faults": [
        {"route": "submit", "do": "lose_answer", "share": 0.02},
        {"route": "submit", "do": "fail_after", "share": 0.02},
        {"route": "any", "do": "drop", "share": 0.02},
        {"route": "any", "code": "SlowDown", "share": 0.05},
        {"route": "get", "do": "truncate", "share": 0.1},
        {"route": "list", "do": "garble", "share": 0.05},
    ],
}


def resident_mb() -> float:
    """Return the memory of this process, which runs the service."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    """Count the open descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Load:
    """Clients with a random mix of calls."""

    def __init__(self, bench: Bench, body: Callable[..., str]) -> None:
        self.bench = bench
        self.body = body
        self.accepted: list[str] = []
        self.asked = 0

    async def until(self, deadline: float, dice: random.Random) -> None:
        clock = SystemClock()
        while clock.monotonic() < deadline:
            self.asked += 1
            try:
                await dice.choice(
                    [
                        self.submit,
                        self.submit,
                        self.query,
                        self.list_jobs,
                        self.cancel,
                        self.put,
                        self.get,
                        self.list_keys,
                    ]
                )(dice)
            except (TimeoutError, aiohttp.ClientError):
                continue  # a scripted fault

    async def submit(self, dice: random.Random) -> None:
        answer = await self.bench.raw("POST", "/jobs", body=self.body(level=dice.randrange(3)))
        self.accepted += (
            re.findall("<JobId>(.*?)</JobId>", answer.text) if answer.status == 200 else []
        )

    async def query(self, dice: random.Random) -> None:
        ids = dice.sample(self.accepted[-1000:], min(10, len(self.accepted[-1000:]))) or [
            "j" + "0" * 32
        ]
        answer = await self.bench.raw("GET", f"/jobs/{','.join(ids)}")
        assert answer.status in {200, 429}, answer.text

    async def list_jobs(self, dice: random.Random) -> None:
        await self.bench.raw("GET", "/jobs", params={"size": "100"})

    async def cancel(self, dice: random.Random) -> None:
        if self.accepted:
            answer = await self.bench.raw(
                "PUT", f"/jobs/{self.accepted[-1]}", params={"cancel": ""}
            )
            assert answer.status in {200, 400, 429}

    async def put(self, dice: random.Random) -> None:
        answer = await self.bench.raw(
            "PUT",
            f"/in/{dice.randrange(50)}.mp3",
            host=COS,
            body=dice.randbytes(dice.randrange(100_000)),
        )
        assert answer.status in {200, 503}

    async def get(self, dice: random.Random) -> None:
        answer = await self.bench.raw("GET", f"/in/{dice.randrange(50)}.mp3", host=COS)
        assert answer.status in {200, 404, 503}

    async def list_keys(self, dice: random.Random) -> None:
        answer = await self.bench.raw("GET", "/", host=COS, params={"prefix": "in/"})
        assert answer.status in {200, 404, 503}


async def soak(
    start: Benches, job_body: Callable[..., str], seconds: float, growth_mb: float
) -> None:
    before = open_files()
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        bench = await start(
            within=stack,
            faults=Faults.parse(FAULTS),
            progression=Progression(Pace.SECONDS, finish_after=0.05),
            max_concurrent=8,
            drain_s=0.5,
        )
        load = Load(bench, job_body)
        started = clock.monotonic()
        await asyncio.gather(
            *(load.until(started + seconds / 3, random.Random(seed)) for seed in range(12))
        )
        warm_mb = resident_mb()
        await asyncio.gather(
            *(load.until(started + seconds, random.Random(100 + seed)) for seed in range(12))
        )
        grown_mb = resident_mb() - warm_mb
        parts = bench.service.parts
        known = {
            job_id
            for position in range(0, len(load.accepted), 100)
            for job_id in parts.store.get(load.accepted[position : position + 100])
        }
        parts.scheduler.progression = Progression(Pace.SECONDS, finish_after=60)
        in_flight = len(parts.scheduler._jobs)
    after = open_files()

    assert load.asked > 20 * seconds
    assert known == set(load.accepted)
    assert len(load.accepted) == len(known)
    assert grown_mb < growth_mb
    assert in_flight > 0
    assert after <= before + 2  # those of the loop


@pytest.mark.slow
async def test_a_few_seconds_of_mixed_load_with_faults(
    start: Benches, job_body: Callable[..., str]
) -> None:
    await soak(start, job_body, 3, growth_mb=40)


@pytest.mark.soak
async def test_two_minutes_of_mixed_load_with_faults(
    start: Benches, job_body: Callable[..., str], request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--soak", default=False):
        pytest.skip("minutes of load: run with --soak")
    await soak(start, job_body, 120, growth_mb=60)
