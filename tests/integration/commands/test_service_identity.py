"""A ledger belongs to one service; a folder that is moved with its ledger is the same service."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from orchestrator.commands.options import ManifestSource, RunOptions
from orchestrator.commands.plan import plan
from orchestrator.commands.resources import (
    hold_ledger,
    ledger_path,
    remember_place,
    service_name,
    service_place,
)
from orchestrator.domain.clock import SystemClock
from orchestrator.errors import ConfigError
from orchestrator.manifest import load_manifest

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """
version: 1
name: album
service: {local: {root: media}}
bucket: media-1250000000
region: ap-chongqing
defaults:
  operation: {audio_mode: AudioAndBackground, audio: {codec: mp3}}
  output: {voice: "stems/{stem}/voice.mp3", background: "stems/{stem}/background.mp3"}
inputs: [{object: in/a.mp3}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a manifest with its objects; the local service has worked there."""
    folder = tmp_path / "before"
    (folder / "media" / ".service").mkdir(parents=True)
    (folder / "media" / ".service" / "queue.db").touch()
    (folder / "album.yaml").write_text(MANIFEST)
    return folder


async def visit(folder: Path) -> None:
    """Open the ledger of the folder's manifest as a run does."""
    manifest = load_manifest(folder / "album.yaml", {})
    location = ledger_path(manifest)
    name, place = service_name(manifest, location), service_place(manifest, location)
    async with hold_ledger(location, name, SystemClock(), place) as ledger:
        await remember_place(ledger, place)


async def test_a_folder_that_is_moved_with_its_ledger_and_objects_is_the_same_service(
    folder: Path, tmp_path: Path
) -> None:
    await visit(folder)
    shutil.move(folder, tmp_path / "after")

    await visit(tmp_path / "after")
    shutil.move(tmp_path / "after", tmp_path / "again")
    await visit(tmp_path / "again")
    await plan(ManifestSource(tmp_path / "again" / "album.yaml"), RunOptions())


async def test_a_ledger_that_is_copied_without_its_objects_belongs_to_another_service(
    folder: Path, tmp_path: Path
) -> None:
    await visit(folder)
    shutil.copytree(folder, tmp_path / "copy", ignore=shutil.ignore_patterns("media"))

    with pytest.raises(ConfigError, match=r"belongs to the service local:.*before/media"):
        await visit(tmp_path / "copy")


async def test_a_plan_with_the_ledger_of_another_service_is_refused(folder: Path) -> None:
    await visit(folder)

    with pytest.raises(ConfigError, match=r"belongs to the service local:.*--ledger FILE"):
        await plan(ManifestSource(folder / "album.yaml", "tencent"), RunOptions())
