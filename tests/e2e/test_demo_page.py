"""The page of the demo plays what the demo made."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.install.installed import CACHE_VARIABLE, cache_dir
from tests.browser import Visit, running_browser
from tests.e2e.playground import Playground
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.engine
def test_the_page_of_the_demo_plays_all_24_sounds(tmp_path: Path) -> None:
    here = Playground(tmp_path)
    here.environment = {CACHE_VARIABLE: str(cache_dir())}
    shutil.copytree(REPOSITORY / "manifests" / "media", tmp_path / "media")
    shutil.copy(REPOSITORY / "manifests" / "demo.yaml", tmp_path)

    with running_browser() as browser:
        finished = here.do("run", "demo.yaml", limit_s=120)
        visit = Visit(browser)
        page = visit.open(here.reports()[-1].with_suffix(".html"))
        played = page.evaluate(
            """() => Promise.all([...document.querySelectorAll("tr audio")].map(async (audio) => {
              await audio.play();
              while (!audio.currentTime) await new Promise((again) => setTimeout(again, 10));
              return [audio.dataset.stem, audio.duration > 1];
            }))"""
        )
        drawn = page.evaluate("JSON.parse(document.getElementById('drawings').textContent)")

    assert finished.code == 0, finished.err
    assert sorted(played) == sorted([[s, True] for s in ("input", "voice", "background")] * 8)
    assert [len(each) for each in drawn.values()] == [3] * 8
    assert visit.problems == []
