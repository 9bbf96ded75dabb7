"""The recipes that the cookbook marks as running on this machine do so unchanged."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.install.installed import CACHE_VARIABLE, cache_dir
from tests.e2e.playground import Playground
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.engine]
MANIFESTS = REPOSITORY / "manifests"
STEMS = {
    "matrix": {
        "archive/interview/voice.flac", "archive/interview/background.flac",
        "preview/interview/voice.mp3", "preview/interview/background.mp3",
    },
    "from-list": {
        "catalogue/000017/voice.mp3", "catalogue/000018/voice.mp3",
        "catalogue/000023/voice.mp3", "catalogue/000023/background.mp3",
    },
}  # fmt: skip


@pytest.fixture
def copied(tmp_path: Path) -> Playground:
    """A copy of the manifests and their media, without the files that earlier runs left there."""
    left = shutil.ignore_patterns("stems", ".service", ".orchestrator", "reports")
    shutil.copytree(MANIFESTS, tmp_path / "manifests", ignore=left)
    place = Playground(tmp_path)
    place.environment = {
        "TENCENTCLOUD_SECRET_ID": None,
        "TENCENTCLOUD_SECRET_KEY": None,
        CACHE_VARIABLE: str(cache_dir()),
    }
    return place


@pytest.mark.parametrize("recipe", STEMS)
def test_a_recipe_makes_its_stems_once(copied: Playground, recipe: str) -> None:
    stems = copied.folder / "manifests/media/demo-1250000000/stems"

    first = copied.do("run", f"manifests/{recipe}.yaml", "--json", limit_s=120)
    made = {str(path.relative_to(stems)) for path in stems.rglob("*") if path.is_file()}
    again = copied.do("run", f"manifests/{recipe}.yaml", "--json", limit_s=60)

    assert (first.code, again.code) == (0, 0), first.err
    assert made == STEMS[recipe]
    jobs = first.json()["jobs"]["succeeded"]
    assert jobs == {"matrix": 2, "from-list": 3}[recipe]
    assert again.json()["jobs"]["skipped"] == jobs
    assert again.json()["calls"]["submits"] == 0


def test_every_recipe_marked_as_running_here_is_run_by_a_test() -> None:
    page = (MANIFESTS.parent / "docs/cookbook.md").read_text(encoding="utf-8")

    said = {
        line.partition("../manifests/")[2].partition(".yaml")[0]
        for line in page.splitlines()
        if "*(runs here)*" in line
    }

    assert said == {"demo", *STEMS}  # the demo is run by the test of the README
