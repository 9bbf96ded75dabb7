"""What a machine lacks for separation is named with the command that installs it."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

import pytest

from orchestrator.errors import EngineMissing
from orchestrator.separation.install import installed
from orchestrator.separation.install.installed import CACHE_VARIABLE, ENGINE_FILE

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
        installed, "find_spec", lambda name: None if name in missing else ModuleSpec(name, None)
    )


def test_missing_weights_are_named_with_the_command_and_then_it_works(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch)
    weights.unlink()
    with pytest.raises(EngineMissing, match="orchestrator fetch-engine"):
        installed.check_ready()
    weights.write_bytes(b"weights")
    installed.check_ready()


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
        installed.check_ready()

    assert str(caught.value).endswith(f"run: {command} 'voiceseparate-orchestrator[local]'")


UVX = "uvx --from 'voiceseparate-orchestrator[local]' orchestrator"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["orchestrator", "separate", "my song.mp3"], f"{UVX} separate 'my song.mp3'"),
        (["voiceseparate-orchestrator", "run", "a.yaml"], f"{UVX} run a.yaml"),
        (["script.py", "--own"], UVX),
    ],
)
def test_in_an_environment_for_one_call_the_whole_command_is_given(
    monkeypatch: pytest.MonkeyPatch, weights: Path, arguments: list[str], expected: str
) -> None:
    monkeypatch.setattr(sys, "prefix", "/home/u/.cache/uv/archive-v0/FsBqYXjIJpSNV6Y2")
    monkeypatch.setattr(sys, "argv", [f"/home/u/bin/{arguments[0]}", *arguments[1:]])

    pretend(monkeypatch, "av")
    with pytest.raises(EngineMissing) as caught:
        installed.check_ready()
    assert str(caught.value).endswith(f"run: {expected}")

    pretend(monkeypatch)
    weights.unlink()
    with pytest.raises(EngineMissing) as caught:
        installed.check_ready()
    assert str(caught.value).endswith(f"run: {UVX} fetch-engine")


@pytest.mark.usefixtures("weights")
def test_missing_libraries_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "numpy", "onnxruntime", "openvino")
    with pytest.raises(EngineMissing, match=r"needs numpy, openvino or onnxruntime.*\[local\]"):
        installed.check_ready()
    pretend(monkeypatch, "openvino")
    installed.check_ready()
