"""The real runner, ledger on disk, client and limiter against the stub, with generated jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.client.credentials import Static
from orchestrator.client.endpoint import Endpoint
from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.client.limits.shared_limit import STATE_VARIABLE, shared_limits
from orchestrator.client.service import CloudService
from orchestrator.client.wire.error_codes import is_transient_job_code
from orchestrator.client.wire.signature import Credentials
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.events import JobAccepted, JobSending, PlanFinished
from orchestrator.domain.run import Holder
from orchestrator.domain.spec import (
    AudioConfig,
    AudioMode,
    JobSpec,
    MediaObject,
    Operation,
    Origin,
    Output,
)
from orchestrator.errors import Interruption
from orchestrator.ledger import open_ledger
from orchestrator.manifest import load_manifest
from orchestrator.manifest.planning.planner import job_key
from orchestrator.runner.ports import Ports
from orchestrator.runner.runner import Runner
from orchestrator.runner.settings import RunnerOptions, RunnerSettings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from pathlib import Path

    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Ledger
    from orchestrator.manifest import Manifest

BUCKET, REGION = "media-1250000000", "ap-chongqing"
KEYS = Credentials("AKIDBENCHMARK", "a-key-that-opens-nothing")
FAR_ABOVE_PER_S = 100_000.0
"""A rate limit that never delays anything."""
FEED = 500
"""Specs per batch, as in the planner."""

_OPERATION = Operation(
    audio_mode=AudioMode.AUDIO_AND_BACKGROUND, audio=AudioConfig("mp3", 44_100, 192, 2)
)


def spec(number: int) -> JobSpec:
    """Return a job like those of a real library: a key, an object, two output names."""
    name = f"library/{number % 997:03d}/recording-{number:08d}"
    media = MediaObject(BUCKET, REGION, f"{name}.mp3", f"{number:032x}", 219_263)
    output = Output(
        BUCKET, REGION, voice=f"stems/{name}/voice.mp3", background=f"stems/{name}/background.mp3"
    )
    key = job_key(media, _OPERATION, output)
    return JobSpec(
        key,
        media,
        _OPERATION,
        output,
        user_data=f"{number}",
        origin=Origin("library.csv", number, "inputs[0]"),
    )


async def feed(specs: Sequence[JobSpec]) -> AsyncGenerator[list[JobSpec]]:
    """Yield the specs in batches."""
    for start in range(0, len(specs), FEED):
        yield list(specs[start : start + FEED])


JOBS = """\
bucket: media-1250000000
region: ap-chongqing
defaults:
  operation:
    audio_mode: AudioAndBackground
    audio: {{codec: mp3, samplerate: 44100, bitrate: 192, channels: 2}}
  output:
    voice: "stems/{{dir}}/{{stem}}/voice.mp3"
    background: "stems/{{dir}}/{{stem}}/background.mp3"
  user_data: "{{stem}}"
"""
"""Bucket and settings of the jobs in every manifest of a benchmark."""

MANIFEST = f"""\
version: 1
name: bench
service: tencent
{JOBS}inputs:
  - list: {{name}}
report: reports/{{{{run}}}}.jsonl
"""


def write_list(folder: Path, jobs: int, ending: str = "csv") -> Manifest:
    """Write a manifest with one list file of ``jobs`` objects, and load it."""
    file = folder / f"library.{ending}"
    with file.open("w", encoding="utf-8") as out:
        if ending == "csv":
            out.write("object,etag,size_bytes\n")
            out.writelines(
                f"library/{number % 997:03d}/recording-{number:08d}.mp3,{number:032x},219263\n"
                for number in range(jobs)
            )
        else:
            out.writelines(
                f"library/{number % 997:03d}/recording-{number:08d}.mp3\n" for number in range(jobs)
            )
    manifest = folder / "bench.yaml"
    manifest.write_text(MANIFEST.format(name=file.name), encoding="utf-8")
    return load_manifest(manifest, {})


@dataclass(slots=True)
class Count:
    """A sink that counts sent and accepted jobs.

    Attributes:
        goal: Number of accepted jobs at which ``reached`` is called; 0 means never.
        reached: Called at the goal.
        sent: Jobs with a durable intent.
        accepted: Accepted jobs.
        planned: Jobs of the manifest, once all are known.
    """

    goal: int = 0
    reached: Callable[[], None] | None = None
    sent: int = 0
    accepted: int = 0
    planned: int | None = None

    def emit(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, JobAccepted):
            self.accepted += 1
            if self.accepted == self.goal and self.reached is not None:
                self.reached()
        elif isinstance(event, JobSending):
            self.sent += 1
        elif isinstance(event, PlanFinished):
            self.planned = event.total


@contextlib.asynccontextmanager
async def client(url: str, connections: int) -> AsyncIterator[CloudService]:
    """Open the real client for the stub."""
    async with CloudService(
        Endpoint(url, url), Static(KEYS), SystemClock(), connections=connections
    ) as service:
        yield service


@dataclass(frozen=True)
class Rates:
    """Limits of a measured run; by default none that is reached."""

    submits_per_s: float = FAR_ABOVE_PER_S
    queries_per_s: float = FAR_ABOVE_PER_S


NO_QUERIES = Rates(queries_per_s=1 / 86_400)


@contextlib.asynccontextmanager
async def runner(
    url: str,
    ledger_file: Path,
    sink: Count,
    settings: RunnerSettings,
    *,
    rates: Rates = Rates(),
    deadline_s: float | None = None,
    seen_through: Callable[[Ledger], Ledger] | None = None,
) -> AsyncIterator[Runner]:
    """Open a runner whose parts are all real, except the service.

    ``seen_through`` can wrap the ledger. The limits are shared, as in every run, with the processes
    that use the same stub and state folder: the folder of the ledger unless the environment says.
    """
    clock = SystemClock()
    ledger = open_ledger(ledger_file)
    try:
        await ledger.acquire(Holder("bench", os.getpid(), clock.now(), "scripts/bench"))
        async with client(url, settings.connections) as service:
            submit_limiter = AdaptiveLimiter(rates.submits_per_s, clock)
            service.space_submits(submit_limiter)
            query_limiter = AdaptiveLimiter(rates.queries_per_s, clock)
            parts = Ports(
                ledger=seen_through(ledger) if seen_through else ledger,
                service=service,
                store=service,
                submit_limiter=submit_limiter,
                query_limiter=query_limiter,
                list_limiter=AdaptiveLimiter(FAR_ABOVE_PER_S, clock),
                look_limiter=AdaptiveLimiter(FAR_ABOVE_PER_S, clock),
                clock=clock,
                rng=random.Random(1),  # noqa: S311 - jitter, not a secret
                sink=sink,
                is_transient=is_transient_job_code,
                off_loop=asyncio.to_thread,
                settings=settings,
            )
            report = str(ledger_file.with_name("{run}.jsonl"))
            made = Runner(parts, RunnerOptions(name="bench", report=report, deadline_s=deadline_s))
            sink.reached = lambda: made.stop(
                Interruption("deadline", "the benchmark has enough jobs")
            )
            os.environ.setdefault(STATE_VARIABLE, str(ledger_file.parent))
            limiters = {"submit": submit_limiter, "query": query_limiter}
            async with shared_limits(url, limiters, clock, print):
                yield made
    finally:
        await ledger.close()


def submit_only(jobs: int, connections: int) -> RunnerSettings:
    """Return settings with which all jobs may be in flight at once."""
    return RunnerSettings(in_flight=jobs + 1, connections=connections)
