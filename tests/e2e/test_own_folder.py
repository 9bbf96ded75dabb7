"""Files of the user's folder that have the names of Python's modules."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.install.installed import CACHE_VARIABLE, cache_dir
from tests.e2e.test_embedded import write_tone

if TYPE_CHECKING:
    from tests.e2e.playground import Playground


@pytest.mark.slow
@pytest.mark.engine
def test_a_file_beside_the_media_is_never_taken_for_a_library(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 0.5)
    for name in ("av", "numpy", "signal"):
        (tmp_path / f"{name}.py").write_text("open('executed', 'w').close(); raise SystemExit(3)")
    environment = {**os.environ, "HOME": str(tmp_path / "home"), CACHE_VARIABLE: str(cache_dir())}

    done = subprocess.run(
        [Path(sys.executable).with_name("orchestrator"), "separate", ".", "-o", "out"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "executed").exists()


def test_a_report_never_replaces_its_manifest(here: Playground) -> None:
    path = here.write("in/a.mp3")
    before = path.read_bytes()
    assert here.run().code == 0

    for form in ("html", "csv"):
        done = here.do("report", path.name, "--format", form, "-o", path.name)
        assert done.code == 2
        assert "is the manifest itself" in done.err
    assert path.read_bytes() == before


def test_a_mistyped_address_of_a_ledger_is_refused(here: Playground) -> None:
    here.write("in/a.mp3")

    done = here.run("--ledger", "postgresql:/me@db/jobs")

    assert done.code == 2
    assert "Write it with ://" in done.err
