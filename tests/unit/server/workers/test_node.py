"""Facts of a node, and the folders that killed workers leave."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from orchestrator._version import __version__
from orchestrator.server.workers import node

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

MEMINFO = "MemTotal:  1000 kB\nMemFree:  10 kB\nMemAvailable:  400 kB\n"


def test_free_memory_is_that_of_the_system_within_the_limit_of_the_container(
    tmp_path: Path,
) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text(MEMINFO)
    assert node.free_memory(meminfo, tmp_path) == 400 << 10

    (tmp_path / "memory.max").write_text("300000\n")
    (tmp_path / "memory.current").write_text("100000\n")
    assert node.free_memory(meminfo, tmp_path) == 200000

    (tmp_path / "memory.max").write_text("max\n")
    assert node.free_memory(meminfo, tmp_path) == 400 << 10


def test_unknown_free_memory_is_not_a_limit(tmp_path: Path) -> None:
    assert node.free_memory(tmp_path / "none", tmp_path) == 1 << 62


def test_facts_have_the_version_and_the_hash_of_the_weights(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(b"weights")
    found = node.facts(str(model))
    assert (found.version, found.pid, found.unreachable) == (__version__, os.getpid(), "")
    assert found.engine.startswith("9a129038")
    assert node.facts(str(tmp_path / "none")).engine == ""
    seen = {found.engine}
    for content in ("{}", '{"compensate": 2}'):
        model.with_suffix(".json").write_text(content)
        seen.add(node.facts(str(model)).engine)
    assert len(seen) == 3, "the JSON file beside a model changes its stems"


def test_folders_of_dead_workers_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    for name in (process.pid, os.getpid(), "other"):
        (tmp_path / f"orchestrator-worker-{name}-x").mkdir()

    node.forget_dead_folders()

    left = {path.name.split("-")[2] for path in tmp_path.iterdir()}
    assert left == {str(os.getpid()), "other"}
