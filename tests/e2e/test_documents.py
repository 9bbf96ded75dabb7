"""The documents match the code and the files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


def test_the_generated_parts_of_the_documents_match_the_code() -> None:
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "write_docs.py", "--check"], check=False
    )

    assert done.returncode == 0, "run scripts/write_docs.py"


def test_every_document_that_is_linked_exists() -> None:
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


@pytest.mark.slow
@pytest.mark.engine
def test_the_python_example_of_the_readme_separates_the_demo_media(tmp_path: Path) -> None:
    shutil.copytree(
        REPOSITORY / "manifests",
        tmp_path / "manifests",
        ignore=shutil.ignore_patterns("stems", ".service", ".orchestrator"),
    )
    (tmp_path / "manifests/media/demo-1250000000/input/lecture.mp3").unlink()  # the long one
    program = re.search(
        r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert program is not None

    done = subprocess.run(
        [sys.executable, "-c", program[1]], cwd=tmp_path, check=True, capture_output=True, text=True
    )

    total, *lines = done.stdout.splitlines()
    assert total == "7 jobs"
    assert len(lines) == 7
    assert all(line.startswith("succeeded input/") for line in lines)
    assert not done.stderr
