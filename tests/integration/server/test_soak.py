"""Mixed load with faults: no growth, no leak, no lost job, and a clean close with running jobs.

The load has broken requests too: whatever bytes arrive, the log has no traceback.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import logging
import os
import random
import re
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from yarl import URL

from orchestrator.domain.clock import SystemClock
from orchestrator.server.faults.script import Faults
from orchestrator.server.jobs import database, store
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
    """Return the memory of this process, which runs the service, without what is free again."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def open_files() -> int:
    """Count the open descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Tracebacks(logging.Handler):
    """Keeps the messages of log records that have a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[0] is not None:
            self.seen.append(f"{record.name}: {record.getMessage()} {record.exc_info[1]!r}")


@pytest.fixture
def tracebacks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tracebacks that were logged. Nothing else of the log is kept: it would be growth."""
    handler = Tracebacks()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    return handler.seen


@pytest.fixture
def _small_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the caches be full after a few hundred jobs, so that they do not look like growth."""
    monkeypatch.setattr(store, "MAX_SHOWN", 200)
    monkeypatch.setattr(database, "CACHE_KIB", 300)


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
                        self.upload,
                        self.talk_nonsense,
                    ]
                )(dice)
            except (TimeoutError, aiohttp.ClientError, ConnectionError):
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

    async def upload(self, dice: random.Random) -> None:
        key = f"/in/{dice.randrange(50)}.wav"
        answer = await self.bench.raw("POST", key, host=COS, params={"uploads": ""})
        if answer.status != 200:
            return
        upload = {"uploadId": re.findall("<UploadId>(.*?)</UploadId>", answer.text)[0]}
        part = {**upload, "partNumber": "1"}
        put = self.bench.raw("PUT", key, host=COS, params=part, body=dice.randbytes(50_000))
        end = dice.choice(["DELETE", "POST"])
        body = "<CompleteMultipartUpload/>" if end == "POST" else ""
        await asyncio.gather(put, self.bench.raw(end, key, host=COS, params=upload, body=body))
        await self.bench.raw("DELETE", key, host=COS, params=upload)

    async def talk_nonsense(self, dice: random.Random) -> None:
        """Send bytes that are hardly a request, and read what comes."""
        pieces = [
            *(b"GET ", b"POST ", b"/jobs", b"/", b" HTTP/1.1", b"\r\n", b"\r\n\r\n", b"\x00"),
            *(b"Host: " + COS.encode(), b"Content-Length: 5", b"Content-Length: -1", b"%zz"),
            *(b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"<a>", b"\xff\xfe"),
            *(b"Authorization: q-sign-algorithm=sha1&q-ak=a", b"zzz\r\n", b"Range: bytes=9-1"),
        ]
        url = URL(self.bench.service.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        try:
            writer.write(b"".join(dice.choices(pieces, k=dice.randrange(1, 12))))
            writer.write(dice.randbytes(dice.randrange(40)))
            writer.write_eof()
            async with asyncio.timeout(5):
                while await reader.read(1 << 16):
                    pass
        finally:
            writer.close()


async def soak(
    start: Benches, job_body: Callable[..., str], seconds: float, growth_mb: float
) -> str:
    """Load a service for some seconds, and return what was seen."""
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
        used_mb = []
        for third in range(1, 4):
            end = started + third * seconds / 3
            await asyncio.gather(
                *(load.until(end, random.Random(100 * third + seed)) for seed in range(12))
            )
            used_mb.append(resident_mb())
        grown_mb = used_mb[2] - used_mb[0]
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
    return (
        f"{load.asked} calls in {seconds:g} s, {len(known)} jobs; "
        f"{used_mb[0]:.0f}, {used_mb[1]:.0f} and {used_mb[2]:.0f} MB after each third; "
        f"descriptors {before} before, {after} after"
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_small_caches")
async def test_a_few_seconds_of_mixed_load_with_faults(
    start: Benches, job_body: Callable[..., str], tracebacks: list[str]
) -> None:
    await soak(start, job_body, 3, growth_mb=20)

    assert tracebacks == []


@pytest.mark.soak
@pytest.mark.usefixtures("_small_caches")
async def test_two_minutes_of_mixed_load_with_faults(
    start: Benches,
    job_body: Callable[..., str],
    tracebacks: list[str],
    request: pytest.FixtureRequest,
) -> None:
    if not request.config.getoption("--soak", default=False):
        pytest.skip("minutes of load: run with --soak")
    faulthandler.cancel_dump_traceback_later()  # the limit of a test that hangs is a minute

    seen = await soak(start, job_body, 120, growth_mb=10)

    sys.stdout.write(f"{seen}\n")
    assert tracebacks == []


@pytest.mark.soak
async def test_200_000_objects_are_listed_in_constant_memory_while_others_are_added(
    start: Benches, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--soak", default=False):
        pytest.skip("minutes of work: run with --soak")
    bench, clock = await start(), SystemClock()
    folder = bench.root / "media-1250000000" / "many"
    await asyncio.to_thread(make_files, folder, 200_000)
    started = clock.monotonic()
    found, added, last, warm_mb = 0, 0, "", 0.0

    while True:
        params = {"marker": last, "prefix": "many/"}
        answer = await bench.raw("GET", "/", host=COS, params=params)
        keys = re.findall("<Key>(.*?)</Key>", answer.text)
        assert keys == sorted(keys)
        assert keys[0] > last
        found += sum(key.endswith("0") for key in keys)
        if "<IsTruncated>true" not in answer.text:
            break
        last = keys[-1]
        # One before the marker, and one after it.
        for name in (f"0{added:07d}-new", f"9{added:07d}-new"):
            await bench.raw("PUT", f"/many/{name}", host=COS, body=b"x")
        added += 1
        warm_mb = warm_mb or (resident_mb() if added == 20 else 0)

    grown_mb, took_s = resident_mb() - warm_mb, clock.monotonic() - started
    sys.stdout.write(f"{found} keys in {took_s:.0f} s, {2 * added} added, {grown_mb:.0f} MB more\n")
    assert found == 200_000
    assert grown_mb < 30


def make_files(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"{number:07d}-0").touch()
