"""What a machine lacks for separation is named with the command that installs it."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import EngineMissing
from orchestrator.separation.install import ready
from orchestrator.separation.install.cache import CACHE_VARIABLE, ENGINE_FILE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the path of installed weights."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    (tmp_path / ENGINE_FILE).write_bytes(b"weights")
    return tmp_path / ENGINE_FILE


def pretend(monkeypatch: pytest.MonkeyPatch, *missing: str) -> None:
    """Pretend that these libraries are missing, and all others are there."""
    monkeypatch.setattr(
        ready, "find_spec", lambda name: None if name in missing else ModuleSpec(name, None)
    )


def test_missing_weights_are_named_with_the_command_and_then_it_works(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    weights.unlink()
    with pytest.raises(EngineMissing, match="orchestrator fetch-engine"):
        ready.check_ready()
    weights.write_bytes(b"weights")
    ready.check_ready()


@pytest.mark.usefixtures("weights")
def test_missing_libraries_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "numpy", "onnxruntime", "openvino")
    with pytest.raises(EngineMissing, match=r"needs numpy, openvino or onnxruntime.*\[local\]"):
        ready.check_ready()
    pretend(monkeypatch, "openvino")
    ready.check_ready()
