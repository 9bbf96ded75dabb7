"""The package as it is installed from an index: its files, its two commands, its examples."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    target = tmp_path_factory.mktemp("dist")
    build = f"import hatchling.build as b; print(b.build_wheel({str(target)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return target / done.stdout.split()[-1]


def test_the_wheel_has_the_examples_and_both_names_of_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        scripts = archive.read(next(name for name in names if name.endswith("entry_points.txt")))

    assert "orchestrator/examples/demo.yaml" in names
    assert "orchestrator/examples/lists/catalogue.csv" in names
    media = [name for name in names if "/media/" in name and "/input/" in name]
    assert len(media) == 8
    made = [
        name for name in names if "/examples/" in name and ("/stems/" in name or "reports" in name)
    ]
    assert made == []
    commands = [line.split()[0] for line in scripts.decode().splitlines() if " = " in line]
    assert commands == ["orchestrator", "voiceseparate-orchestrator"]
    assert wheel.stat().st_size < 5_000_000


def test_an_example_comes_out_of_the_wheel(wheel: Path, tmp_path: Path) -> None:
    """The package in the wheel is the one that runs, with the libraries of these tests."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed"), "HOME": str(tmp_path)}

    def do(*arguments: str) -> str:
        command = [sys.executable, "-m", "orchestrator", *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    assert "with 8 files that it needs" in do("init", "--example", "demo", "-o", "first")
    assert "8 of 8 jobs to do" in do("plan", "first/demo.yaml")
