"""Messages about wrong manifests.

To update: ``python -m tests.golden.manifest.test_wrong_manifests``. Then read every changed line.
"""

from __future__ import annotations

import asyncio
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


async def _messages(name: str) -> str:
    """Return all faults of a manifest as ``orchestrator validate`` shows them, without listing."""
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


def _golden(name: str) -> Path:
    return WRONG / name.replace(".yaml", ".txt")


@pytest.mark.parametrize("name", CASES)
async def test_a_wrong_manifest_gives_exactly_this_message(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(WRONG)
    messages = await _messages(name)

    assert messages
    assert _golden(name).read_text() == messages


def test_there_are_at_least_thirty_wrong_manifests() -> None:
    assert len(CASES) >= 30


if __name__ == "__main__":
    os.chdir(WRONG)
    for case in CASES:
        _golden(case).write_text(asyncio.run(_messages(case)))
