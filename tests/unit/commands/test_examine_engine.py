"""An engine is tried in a process of its own, which it may end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.commands import examine_engine as examined
from orchestrator.commands.examination import Examination
from orchestrator.commands.examine_engine import examine_engine
from orchestrator.domain.engines import EngineChoice
from tests.plugins import install_staged

if TYPE_CHECKING:
    from pathlib import Path


def examine(folder: Path, monkeypatch: pytest.MonkeyPatch, **stages: str) -> dict[str, str]:
    """Return the checks of a plug-in that does this at import, at load or at work."""
    install_staged(folder, "trial-engine", **stages)
    monkeypatch.syspath_prepend(str(folder))
    found = Examination()
    examine_engine(found, EngineChoice(plugin="trial-engine"))
    return {f"{check.status} {check.name}": check.text for check in found.checks}


def test_an_engine_that_separates_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints does not matter."""
    found = examine(tmp_path, monkeypatch, at_import="print('hello')")

    assert list(found) == ["ok engine", "ok runtime", "ok separation"]
    assert found["ok separation"].endswith("of its length; finds voice")


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        (
            {"at_import": "sys.stderr.write('no licence\\n'); os._exit(7)"},
            "was ended with status 7 while it was loaded. Its last output: no licence Replace it",
        ),
        ({"at_load": "ctypes.string_at(0)"}, "was ended by SIGSEGV while it was loaded. Replace"),
        ({"at_work": "os.abort()"}, "was ended by SIGABRT while it separated noise. Replace it"),
    ],
)
def test_an_engine_that_ends_its_process_is_a_fault_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: dict[str, str], said: str
) -> None:
    """It does not end the examination."""
    found = examine(tmp_path, monkeypatch, **stages)

    assert said in found["fail engine"]
    assert found["fail engine"].startswith("The process of the engine trial-engine (a plug-in)")


@pytest.mark.parametrize(
    ("stages", "said"),
    [
        ({"at_load": "raise ValueError('no card')"}, "failed: ValueError: no card. Replace it"),
        ({"at_work": "block = block * float('nan')"}, "samples that are not numbers. Replace it"),
    ],
)
def test_an_engine_that_fails_is_a_fault_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stages: dict[str, str], said: str
) -> None:
    """The fault is the plug-in's own."""
    assert said in examine(tmp_path, monkeypatch, **stages)["fail engine"]


def test_an_engine_that_hangs_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examination ends all the same."""
    monkeypatch.setattr(examined, "_PATIENCE_S", 0.5)

    found = examine(tmp_path, monkeypatch, at_import="signal.pause()")

    assert "more than 0.5 s to load and to separate 10 s of noise" in found["fail engine"]
