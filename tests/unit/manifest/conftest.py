"""Fixtures that write manifests and plan them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.manifest import load_manifest
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.sources.stream import read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from orchestrator.domain.ports import ObjectStore
    from orchestrator.domain.spec import JobSpec
    from orchestrator.manifest import Manifest

HEAD = """\
version: 1
bucket: media-1250000000
region: ap-chongqing
"""
OUTPUT = (
    "defaults:\n"
    '  output: {voice: "stems/{dir}/{stem}/voice.${ext}", '
    'background: "stems/{dir}/{stem}/background.${ext}"}\n'
)


class FixedClock:
    """Clock at 2026-11-22 20:30 UTC, which is the next day in Shanghai."""

    def now(self) -> float:
        return 1795379400.0

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, delay_s: float) -> None:
        """Return at once."""


class Desk:
    """A folder with manifests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def load(
        self,
        text: str,
        sets: Mapping[str, str] | None = None,
        *,
        service: str | None = None,
        head: str = HEAD,
    ) -> Manifest:
        return load_manifest(
            self.write("manifest.yaml", head + text), sets, service=service, clock=FixedClock()
        )

    async def plan(
        self,
        text: str,
        sets: Mapping[str, str] | None = None,
        *,
        head: str = HEAD,
        store: ObjectStore | None = None,
    ) -> list[JobSpec]:
        manifest = self.load(text, sets, head=head)
        planner = Planner(manifest)
        return [
            spec
            async for batch in read(manifest, store, clock=FixedClock())
            for spec in planner.specs(batch)
        ]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Folder for manifests."""
    return Desk(tmp_path)


@pytest.fixture
def output() -> str:
    """Defaults that name both stems."""
    return OUTPUT
