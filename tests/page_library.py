"""A folder of sounds that were separated on this machine, with the ledger of the run."""

from __future__ import annotations

import math
import struct
import wave
from dataclasses import replace
from typing import TYPE_CHECKING

import yaml

from orchestrator.commands.options import ManifestSource
from orchestrator.commands.page import PageOptions, write_page
from orchestrator.domain.job import StemFile
from orchestrator.domain.spec import JobKey, Stem
from orchestrator.domain.states import JobState
from orchestrator.durable import replacing
from orchestrator.ledger import open_ledger
from orchestrator.testing.builders import make_holder, make_spec, way_to

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.domain.spec import JobSpec

T0 = 1_795_309_200.0
BUCKET = "media-1250000000"
HERTZ = {"input": 220.0, "voice": 440.0, "background": 330.0}


def write_tone(path: Path, hertz: float, seconds: float) -> None:
    """Write a tone as a WAV file of 8 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = [
        round(9000 * math.sin(2 * math.pi * hertz * n / 8000)) for n in range(int(8000 * seconds))
    ]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, len(samples), "NONE", ""))
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))


def _spec(number: int, name: str) -> JobSpec:
    spec = make_spec(number, level=number % 3)
    return replace(
        spec,
        key=JobKey(f"v1.key{number:06}"),
        media=replace(spec.media, bucket=BUCKET, key=name),
        output=replace(
            spec.output,
            bucket=BUCKET,
            voice=f"stems/{name}/voice.wav",
            background=f"stems/{name}/background.wav",
        ),
    )


async def make_library(
    folder: Path,
    names: Sequence[str],
    *,
    failures: Sequence[str] = (),
    sounds: int = 1000,
    seconds: float = 3.0,
) -> ManifestSource:
    """Make a folder with a manifest, the ledger of its run, and the sounds.

    Args:
        folder: The folder.
        names: Objects whose jobs succeeded.
        failures: Messages of jobs that failed, each with an object of that name.
        sounds: Number of jobs whose sounds exist.
        seconds: Length of the sounds.
    """
    manifest = {
        "name": "album",
        "service": {"local": {"root": "media"}},
        "bucket": BUCKET,
        "defaults": {"output": {"voice": "stems/{object}/voice.wav"}},
        "inputs": [{"object": "a.mp3"}],
    }
    path = folder / "album.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(manifest))
    ledger = open_ledger(str(folder / ".orchestrator" / "album.db"))
    await ledger.acquire(make_holder())
    run = await ledger.begin_run("album", T0, str(folder / "reports" / "{run}.jsonl"))
    specs = [_spec(number, name) for number, name in enumerate([*names, *failures])]
    jobs = await ledger.add(run, specs)
    for number, job in enumerate(jobs):
        job.submitted_at = job.started_at = T0 + 2 * number
        job.finished_at, job.media_duration_s = T0 + 2 * number + 3, seconds
        if number < len(names):
            job.files = tuple(
                StemFile(stem, getattr(job.spec.output, stem.value), "0" * 32, 1000, verified=True)
                for stem in (Stem.VOICE, Stem.BACKGROUND)
            )
        else:
            job.code, job.message = "ResourceNotSupported", job.spec.media.key
    for state, some in (
        (JobState.SUCCEEDED, jobs[: len(names)]),
        (JobState.FAILED, jobs[len(names) :]),
    ):
        for step in way_to(state):
            for job in some:
                job.step(step)
            await ledger.save(some)
    await ledger.end_run(run, T0 + 60)
    await ledger.close()
    for name in names[:sounds]:
        bucket = folder / "media" / BUCKET
        write_tone(bucket / name, HERTZ["input"], seconds)
        for stem in ("voice", "background"):
            write_tone(bucket / "stems" / name / f"{stem}.wav", HERTZ[stem], seconds)
    return ManifestSource(path)


async def write_library_page(source: ManifestSource, page: Path) -> list[str]:
    """Write the page of such a library; return what it lacks."""
    page.parent.mkdir(parents=True, exist_ok=True)
    with replacing(page) as file:
        return await write_page(source, file, PageOptions(page.parent))
