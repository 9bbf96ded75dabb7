"""What a user reads when a manifest is wrong. ``ORCH_UPDATE_GOLDEN=1`` writes the files anew: then read each aloud."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import ManifestError
from orchestrator.manifest import load_manifest
from orchestrator.manifest.diagnostics import FaultList
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.sources.stream import read

WRONG = Path(__file__).parent / "wrong"
CASES = sorted(path.name for path in WRONG.glob("*.yaml"))


async def _told(name: str) -> str:
    """All faults of a manifest, as ``orchestrator validate`` tells them; prefixes are not listed."""
    faults = FaultList()
    try:
        manifest = load_manifest(Path(name))
        planner = Planner(manifest, faults)
        async for batch in read(manifest, faults=faults):
            planner.specs(batch)
        faults.raise_if_any()
    except ManifestError as error:
        return f"{error}\n"
    return ""


@pytest.mark.parametrize("name", CASES)
async def test_a_wrong_manifest_gives_exactly_this_message(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(WRONG)
    told = await _told(name)
    golden = WRONG / name.replace(".yaml", ".txt")
    if os.environ.get("ORCH_UPDATE_GOLDEN"):
        golden.write_text(told)

    assert told
    assert golden.read_text() == told


def test_there_are_at_least_thirty_wrong_manifests() -> None:
    assert len(CASES) >= 30
