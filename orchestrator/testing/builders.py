"""Builders of valid specs, jobs and holders; a test states only the fields that it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchestrator.domain.job import Job
from orchestrator.domain.run import Holder
from orchestrator.domain.spec import (
    AudioConfig,
    AudioMode,
    JobKey,
    JobSpec,
    MediaObject,
    Operation,
    Origin,
    Output,
)
from orchestrator.domain.states import JobState, Step, is_legal, transitions

BUCKET = "media-1250000000"
REGION = "ap-chongqing"


def make_spec(number: int = 1, **changes: Any) -> JobSpec:
    """Return the spec of ``incoming/<number>.mp3``; ``changes`` replace fields of ``JobSpec``."""
    spec = JobSpec(
        key=JobKey(f"v1.test{number:08d}"),
        media=MediaObject(
            BUCKET, REGION, f"incoming/{number}.mp3", etag=f"{number:032x}", size_bytes=219_263
        ),
        operation=Operation(
            audio_mode=AudioMode.AUDIO_AND_BACKGROUND, audio=AudioConfig("mp3", 44_100, 192, 2)
        ),
        output=Output(
            BUCKET,
            REGION,
            voice=f"stems/{number}/voice.mp3",
            background=f"stems/{number}/background.mp3",
        ),
        user_data=str(number),
        origin=Origin("backlog.csv", number, "inputs[0]"),
    )
    return replace(spec, **changes)


def make_specs(count: int, first: int = 1, **changes: Any) -> list[JobSpec]:
    """Return ``count`` specs, numbered from ``first``."""
    return [make_spec(number, **changes) for number in range(first, first + count)]


def make_job(
    number: int = 1,
    *,
    state: JobState = JobState.PLANNED,
    spec: JobSpec | None = None,
    **changes: Any,
) -> Job:
    """Return a job in ``state``, saved as such; ``changes`` are fields of ``Job``."""
    return Job(
        number,
        spec or make_spec(number),
        state=state,
        saved_state=state,
        **{"seq": number, "run_no": 1, **changes},
    )


def make_holder(pid: int = 4711, **changes: Any) -> Holder:
    """Return the holder of a ledger's lease."""
    return replace(
        Holder("worker-1", pid, 1_700_000_000.0, "orchestrator run nightly.yaml"), **changes
    )


def way_to(state: JobState, start: JobState = JobState.PLANNED) -> list[Step]:
    """Return the shortest sequence of steps from ``start`` to ``state`` without an adoption.

    Raises:
        ValueError: If no sequence leads there.
    """
    ways: dict[JobState, list[Step]] = {start: []}
    front = [start]
    while front:
        here = front.pop(0)
        if here is state:
            return ways[here]
        for before, step, then in transitions():
            if step is Step.ADOPT:
                continue
            if before is here and then not in ways and is_legal(before, step):
                ways[then] = [*ways[here], step]
                front.append(then)
    raise ValueError(f"no steps lead from {start} to {state}")
