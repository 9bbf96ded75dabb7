"""A prefix listed from the real local service over HTTP, signed, in pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.clock import SystemClock
from orchestrator.manifest import load_manifest
from orchestrator.manifest.sources import read
from orchestrator.model import Place
from orchestrator.opening import open_service
from orchestrator.plan import Planner

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """\
version: 1
service: {local: {root: media}}
bucket: media-1250000000
defaults: {output: {voice: "stems/{object}/voice.${ext}"}}
inputs:
  - prefix: in/
    exclude: ["*/draft/*"]
"""
ODD = ["in/a b+c%20d&e.mp3", "in/晚安/{x}.wav", "in/'quoted' \"too\".mp3", "in/#1?.flac", "in/ü/ü.mp3"]


def _fill(root: Path, names: list[str]) -> None:
    for name in names:
        path = root / "media-1250000000" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


async def test_a_prefix_of_the_local_service_is_listed_whole_while_others_write(tmp_path: Path) -> None:
    names = [f"in/{number % 7}/{number:05d}.mp3" for number in range(2_300)] + ODD
    _fill(tmp_path / "media", [*names, "in/draft/x.mp3", "out/y.mp3"])
    (tmp_path / "m.yaml").write_text(MANIFEST)
    manifest = load_manifest(tmp_path / "m.yaml")
    planner = Planner(manifest)
    found: list[str] = []
    etags: set[str] = set()
    async with open_service(manifest, str(tmp_path / "ledger.db"), SystemClock()) as store:
        async for batch in read(manifest, store):
            for spec in planner.specs(batch):
                found.append(spec.media.key)
                etags.add(spec.media.etag)
            await store.put(Place("media-1250000000", "ap-chongqing"), f"in/{len(found):05d}-late.mp3", b"late")

    assert set(found) >= set(names)
    assert all(name.endswith("-late.mp3") for name in set(found) - set(names))
    assert len(found) == len(set(found))
    assert len(etags) >= len(names)
