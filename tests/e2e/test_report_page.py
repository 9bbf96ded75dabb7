"""The report page from the installed command."""

from __future__ import annotations

import base64
import json
import re
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.server.settings import MissingInput
from tests.e2e.playground import Playground

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Serve
    from tests.e2e.playground import RunningService

pytestmark = pytest.mark.slow

PAGE = {"path": "reports/{run}.jsonl", "html": True}


@pytest.fixture
def strict(serve: Serve, tmp_path: Path) -> RunningService:
    """A service that fails jobs whose input is missing."""
    return serve(root=tmp_path / "strict", missing_input=MissingInput.FAIL)


def totals(page: Path) -> dict[str, Any]:
    found = re.search(r'id="totals">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_a_run_writes_its_page_beside_its_report_also_if_jobs_fail(
    tmp_path: Path, strict: RunningService
) -> None:
    here = Playground(tmp_path, strict)
    strict.store("in/a.mp3")
    here.write("in/a.mp3", "in/gone.mp3", report=PAGE)

    finished = here.run()

    page = here.reports()[-1].with_suffix(".html")
    assert finished.code == 1
    assert f"page: {page}" in finished.out
    assert here.summary()["page"] == str(page)
    assert totals(page)["verdict_text"] == "1 of 2 jobs did not succeed."
    assert totals(page)["calls_total"] == sum(here.summary()["calls"].values())
    assert sum(totals(page)["pace"]["sent"]) == 2
    parts = re.findall(r'class="part">([^<]+)<', page.read_text())
    packed = json.loads(zlib.decompress(base64.b64decode(parts[0])))
    assert packed["rows"] == 2


def test_a_run_that_stops_early_has_a_page_that_says_why(here: Playground) -> None:
    here.write("in/a.mp3", "in/b.mp3", report=PAGE)
    assert here.service is not None
    here.service.spoil({"route": "submit", "do": "refuse", "code": "AccessDenied"})

    finished = here.run()

    page = here.reports()[-1].with_suffix(".html")
    assert finished.code == 3
    assert f"page: {page}" in finished.out
    assert totals(page)["notes"][0].startswith("The run stopped: ")
    assert totals(page)["verdict"] == "open"


def test_a_file_that_gets_in_the_way_during_a_run_is_kept_and_named(here: Playground) -> None:
    """One that is there before keeps the run from beginning (see the tests of doctor)."""
    assert here.service is not None
    here.service.spoil({"route": "query", "do": "refuse", "code": "InternalError"})
    here.write("in/a.mp3", report={"path": "album.jsonl", "html": True})
    running = here.start("run", here.path.name, "--log-json")
    running.wait_for("job_accepted")

    (here.folder / "album.html").write_text("Dear diary")
    here.service.spoil()
    finished = running.finish()

    assert finished.code == 0
    assert "album.html exists and is not a page of orchestrator" in finished.err
    assert (here.folder / "album.html").read_text() == "Dear diary"


def test_a_page_is_written_on_request(here: Playground) -> None:
    here.write("in/a.mp3")
    here.run()

    named = here.do("report", here.path.name, "-o", "album.html")
    piped = here.do("report", here.path.name, "--format", "html", "--run", "all")

    assert (named.code, named.out, named.err) == (0, "", "")
    assert totals(here.folder / "album.html")["jobs"] == 1
    assert piped.out.startswith("<!doctype html>")
    assert not here.reports()[-1].with_suffix(".html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--links", "1h"), "--links: only a page has links. Add --format html, not table."),
        (("--format", "html", "--links", "soon"), "--links soon: not a duration above 0."),
        (("--format", "html", "--links", "1h"), "only reach the vendor's own addresses"),
        (("--format", "htm"), "Did you mean html?"),
    ],
)
def test_a_wrong_option_is_named_with_its_fix(
    here: Playground, options: tuple[str, ...], message: str
) -> None:
    here.write("in/a.mp3")
    here.run()

    finished = here.do("report", here.path.name, *options)

    assert finished.code == 2
    assert message in finished.err


def test_html_is_true_or_false(here: Playground) -> None:
    here.write("in/a.mp3", report={"path": "album.jsonl", "html": "yes"})

    finished = here.do("validate", here.path.name)

    assert finished.code == 2
    assert 'Expected true or false here, not "yes"' in finished.err
