"""Measures planning: ``python tests/integration/manifest/plan_a_million.py [ROWS] [csv|txt|inline]``.

Prints objects per second (of wall and of processor time), seconds until the first batch, and the peak of memory, as one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

HEAD = """\
version: 1
bucket: media-1250000000
defaults:
  operation: {audio_mode: AudioAndBackground, audio: {codec: mp3, samplerate: 44100, bitrate: 192, channels: 2}}
  output: {voice: "stems/{dir}/{stem}/voice.${ext}", background: "stems/{dir}/{stem}/background.${ext}"}
  user_data: "{stem}"
"""


def _write(folder: Path, rows: int, kind: str) -> Path:
    names = (f"incoming/album{number // 12:06d}/track-{number:07d}.mp3" for number in range(rows))
    manifest = folder / "m.yaml"
    if kind == "inline":
        manifest.write_text(
            HEAD + "inputs:\n" + "".join(f"  - object: {name}\n    level: 1\n" for name in names)
        )
        return manifest
    with (folder / f"list.{kind}").open("w") as file:
        file.writelines(["object,title\n"] if kind == "csv" else [])
        file.writelines(f"{name},A title\n" if kind == "csv" else f"{name}\n" for name in names)
    manifest.write_text(f"{HEAD}inputs: [{{list: list.{kind}}}]\n")
    return manifest


async def _plan(path: Path) -> dict[str, float]:
    started, used = time.perf_counter(), time.process_time()
    from orchestrator.manifest import load_manifest
    from orchestrator.manifest.planning.planner import Planner
    from orchestrator.manifest.sources.stream import read

    manifest = load_manifest(path)
    loaded_s = time.perf_counter() - started
    planner, jobs, first_s = Planner(manifest), 0, 0.0
    async for batch in read(manifest):
        jobs += len(planner.specs(batch))
        first_s = first_s or time.perf_counter() - started
    took_s, used_s = time.perf_counter() - started, time.process_time() - used
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "jobs": jobs, "loaded_s": round(loaded_s, 2), "first_batch_s": round(first_s, 2), "took_s": round(took_s, 1),
        "per_s": round(jobs / took_s), "per_processor_s": round(jobs / used_s), "peak_mb": round(peak_mb),
    }  # fmt: skip


def main() -> None:
    rows, kind = (
        int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000,
        sys.argv[2] if len(sys.argv) > 2 else "csv",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = _write(Path(folder), rows, kind)
        sys.stdout.write(json.dumps({"kind": kind, **asyncio.run(_plan(path))}) + "\n")


if __name__ == "__main__":
    main()
