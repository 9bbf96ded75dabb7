"""The page as a file: whole, ours, safe, and bounded."""

from __future__ import annotations

import io
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.domain.states import JobState
from orchestrator.errors import ReportError
from orchestrator.reporting.page.places import Places
from orchestrator.reporting.page.writer import (
    SCRIPTS,
    PageWriter,
    check_page_path,
    is_page,
    page_path,
)
from tests.unit.reporting.page.samples import FACTS, RUN, make_row

if TYPE_CHECKING:
    from collections.abc import Sequence

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028&'\""


def written(rows: Sequence[Any], facts: dict[str, Any] | None = None, **bounds: int) -> str:
    """Return a page."""
    file = io.BytesIO()
    with PageWriter(Places(Path("/home/me"), None), **bounds) as writer:
        writer.write(rows)
        writer.finish(file, {**writer.totals, **FACTS, **(facts or {})}, {})
    return file.getvalue().decode()


def test_hostile_text_stays_text_everywhere() -> None:
    rows = [make_row(1, JobState.FAILED, code="Odd", message=HOSTILE)]

    page = written(rows, {"title": HOSTILE, "manifest": HOSTILE, "notes": [HOSTILE]})

    assert page.count("<script>") == 1
    assert page.count("</script>") == page.count("<script")
    assert "<img" not in page


def test_the_page_is_one_file_that_names_nothing_outside_it() -> None:
    page = written([make_row(1)])

    assert re.findall(r"\b(?:src|href)=\"(?!#)[^\"]+\"", page) == []
    assert "@import" not in page
    assert "url(" not in page
    assert not re.search(r"\bon[a-z]+=\"|\bstyle=\"", page)


def test_the_policy_allows_this_script_and_style_only() -> None:
    page = written([make_row(1)])

    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "media-src &#39;none&#39;" in policy[1]


def test_what_is_inlined_cannot_end_its_element() -> None:
    templates = Path(str(files("orchestrator.reporting.page"))) / "templates"
    inlined = [*templates.rglob("*.js"), *templates.rglob("*.css")]

    assert [path.name for path in inlined if "</" in path.read_text("utf-8")] == []
    assert {path.stem for path in inlined} == {*SCRIPTS, "live", "page"}


def test_only_so_many_rows_are_in_a_page_and_failures_have_room_of_their_own() -> None:
    rows = [make_row(number) for number in range(20)]
    rows += [make_row(number, JobState.FAILED, code="Odd") for number in range(20, 30)]
    file = io.BytesIO()

    with PageWriter(Places(Path("/home/me"), None), most_well=5, most_bad=4) as writer:
        writer.write(rows)
        totals = writer.totals
        writer.finish(file, {**totals, **FACTS}, {})

    assert (totals["rows"], totals["jobs"]) == (9, 30)
    assert (totals["states"]["succeeded"], totals["states"]["failed"]) == (20, 10)
    assert totals["failures"][0]["jobs"] == 10


def test_rows_are_packed_in_parts_as_they_come() -> None:
    page = written([make_row(number) for number in range(12_000)])

    assert page.count('class="part"') == 3


def test_the_page_of_a_report_is_beside_it() -> None:
    for name in ("nightly.jsonl", "nightly.jsonl.gz"):
        assert page_path(Path("reports") / name) == Path("reports/nightly.html")
    assert page_path(Path("run.txt")) == Path("run.txt.html")


def test_a_page_is_known_by_its_run_and_other_files_are_kept(tmp_path: Path) -> None:
    page, diary = tmp_path / "page.html", tmp_path / "diary.html"
    page.write_text(written([make_row(1)]))
    diary.write_text("<!doctype html><title>Dear diary</title>")

    assert is_page(page)
    assert is_page(page, RUN.id)
    assert not is_page(page, "another")
    assert not is_page(tmp_path / "gone.html")
    check_page_path(page)
    check_page_path(tmp_path / "gone.html")
    with pytest.raises(ReportError, match=r"diary\.html exists and is not a page"):
        check_page_path(diary)
