"""A prefix listed from the real local service over HTTP, signed, in pages."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from orchestrator.commands.options import ManifestSource, RunOptions
from orchestrator.commands.plan import plan
from orchestrator.commands.resources import open_service, open_store
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.spec import Place
from orchestrator.errors import BucketUnknown
from orchestrator.manifest import load_manifest
from orchestrator.manifest.planning.forecast import Standing
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.sources.stream import read

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.ports import ObjectStore
    from orchestrator.domain.remote import ListedObject

MANIFEST = """\
version: 1
service: {local: {root: media}}
bucket: media-1250000000
defaults: {output: {voice: "stems/{object}/voice.${ext}"}}
inputs:
  - prefix: in/
    exclude: ["*/draft/*"]
"""
ODD = [
    "in/a b+c%20d&e.mp3",
    "in/晚安/{x}.wav",
    "in/'quoted' \"too\".mp3",
    "in/#1?.flac",
    "in/ü/ü.mp3",
]


def _fill(root: Path, names: list[str]) -> None:
    for name in names:
        path = root / "media-1250000000" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def listed(store: ObjectStore, size: int) -> list[ListedObject]:
    """Return the whole bucket, listed in pages of this size, with times in whole seconds."""
    found: list[ListedObject] = []
    marker = ""
    while True:
        page = await store.list_objects(
            Place("media-1250000000", "ap-chongqing"), "in/", marker, size
        )
        found += [
            replace(one, modified_at=one.modified_at and int(one.modified_at))
            for one in page.objects
        ]
        marker = page.next_marker
        if not marker:
            return found


async def test_folder_and_service_list_the_same_objects_while_the_service_runs(
    tmp_path: Path,
) -> None:
    _fill(tmp_path / "media", [*ODD, "in/1.mp3", "in/2.mp3", "in/deep/er/3.mp3", "out/no.mp3"])
    (tmp_path / "m.yaml").write_text(MANIFEST)
    manifest = load_manifest(tmp_path / "m.yaml")
    place = Place("media-1250000000", "ap-chongqing")
    async with open_service(manifest, str(tmp_path / "ledger.db"), SystemClock()) as service:
        async with open_store(manifest, str(tmp_path / "ledger.db"), SystemClock()) as store:
            by_service, by_folder = await listed(service, 3), await listed(store, 3)
            assert await store.head(place, "in/none.mp3") is None
            local, remote = (
                await store.head(place, "in/1.mp3"),
                await service.head(place, "in/1.mp3"),
            )
            assert local is not None
            assert remote is not None
            assert (local.size_bytes, local.etag, local.crc64) == (
                remote.size_bytes,
                remote.etag,
                remote.crc64,
            )
        found = await plan(
            ManifestSource(manifest.path), RunOptions(ledger=str(tmp_path / "ledger.db"))
        )

    assert by_folder == by_service
    assert len(by_folder) == len(ODD) + 3
    assert found.forecast.totals[Standing.NEW] == len(ODD) + 3


async def test_a_plan_counts_the_files_of_a_folder_that_are_not_objects(tmp_path: Path) -> None:
    _fill(tmp_path / "media", ["in/1.mp3", "in/2.MP3", "in/notes.txt"])
    folder = tmp_path / "media/media-1250000000/in"
    (folder / "link.mp3").symlink_to(folder / "1.mp3")
    (folder / "link.txt").symlink_to(folder / "1.mp3")
    (folder / os.fsdecode(b"caf\xe9.mp3")).write_bytes(b"")
    (tmp_path / "m.yaml").write_text(MANIFEST.replace("exclude", 'include: "*.mp3"\n    exclude'))

    found = await plan(
        ManifestSource(tmp_path / "m.yaml"), RunOptions(ledger=str(tmp_path / "ledger.db"))
    )

    assert found.forecast.totals[Standing.NEW] == 1
    (text,) = [text for text in found.forecast.remarks if "skipped" in text]
    assert text == (
        f"{tmp_path}/m.yaml:6:5: inputs[0]: 3 skipped: "
        '1 name that is not UTF-8 ("in/caf\\xe9.mp3"), 1 symbolic link ("in/link.mp3") and '
        '1 name that differs from include only in case ("in/2.MP3").'
    )


async def test_a_preview_creates_nothing_and_reports_a_missing_bucket(
    tmp_path: Path,
) -> None:
    (tmp_path / "m.yaml").write_text(MANIFEST)
    manifest = load_manifest(tmp_path / "m.yaml")

    with pytest.raises(BucketUnknown, match="media-1250000000 does not exist here"):
        await plan(ManifestSource(manifest.path), RunOptions(ledger=str(tmp_path / "ledger.db")))

    assert _names(tmp_path) == ["m.yaml"]


async def test_a_prefix_of_the_local_service_is_listed_completely_while_others_write(
    tmp_path: Path,
) -> None:
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
            _fill(tmp_path / "media", [f"in/{len(found):05d}-late.mp3"])

    assert set(found) >= set(names)
    assert all(name.endswith("-late.mp3") for name in set(found) - set(names))
    assert len(found) == len(set(found))
    assert len(etags) >= len(names)
