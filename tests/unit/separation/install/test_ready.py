"""What a machine lacks for separation is named with the command that installs it."""

from __future__ import annotations

import sys
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


@pytest.mark.parametrize(
    ("prefix", "command"),
    [
        ("/home/u/.local/share/uv/tools/voiceseparate-orchestrator", "uv tool install --force"),
        ("/home/u/.local/share/pipx/venvs/voiceseparate-orchestrator", "pipx install --force"),
        ("/srv/app/.venv", "pip install"),
    ],
)
@pytest.mark.usefixtures("weights")
def test_the_command_is_that_of_the_tool_that_made_the_environment(
    monkeypatch: pytest.MonkeyPatch, prefix: str, command: str
) -> None:
    pretend(monkeypatch, "numpy")
    monkeypatch.setattr(sys, "prefix", prefix)

    with pytest.raises(EngineMissing) as caught:
        ready.check_ready()

    assert str(caught.value).endswith(f"run: {command} 'voiceseparate-orchestrator[local]'")


@pytest.mark.usefixtures("weights")
def test_missing_libraries_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "numpy", "onnxruntime", "openvino")
    with pytest.raises(EngineMissing, match=r"needs numpy, openvino or onnxruntime.*\[local\]"):
        ready.check_ready()
    pretend(monkeypatch, "openvino")
    ready.check_ready()
