"""The report page in Debian's Chromium: what it shows, plays, refuses to run, and lets one do."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import pytest

from orchestrator.client.links import SignedLinks
from orchestrator.client.wire.signature import Credentials
from orchestrator.commands.report import report
from orchestrator.domain.clock import SystemClock
from orchestrator.reporting.page.places import Places
from orchestrator.reporting.page.writer import PageWriter
from tests.browser import Visit, running_browser
from tests.page_library import make_library, write_library_page
from tests.unit.reporting.page.samples import FACTS, make_row

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence
    from pathlib import Path

    from playwright.sync_api import Browser

    from orchestrator.commands.options import ManifestSource

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=window.hurt=1> & </script><script>window.hurt=2</script>.wav"
NAMES = (
    "one.wav",
    "two words #1?.wav",
    "100% \"quoted\" 'name'.wav",
    "مقابلة 3.wav",
    "ünïcode/[deep]/a+b&c=d;e.wav",
    HOSTILE.replace("/", "|"),
    "javascript:alert(1).wav",
    "track 10.wav",
)
FAILURES = ("broken.wav", f"broken too {HOSTILE.replace('/', '|')}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as found:
        yield found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Path:
    """A library with eight finished jobs and two that failed, and its page."""
    place = tmp_path_factory.mktemp("library")
    source = finished(make_library(place, NAMES, failures=FAILURES))
    finished(write_library_page(source, place / "reports" / "page.html"))
    return place


@pytest.fixture(scope="module")
def long_page(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Path:
    """The page of a library with 1,200 jobs, of which two can be heard."""
    place = tmp_path_factory.mktemp("long")
    names = [f"track {number}.wav" for number in range(1200)]
    source = finished(make_library(place, names, sounds=2, seconds=8.0))
    finished(write_library_page(source, place / "page.html"))
    return place / "page.html"


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    found = Visit(browser)
    yield found
    found.close()


def finished(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a thread of its own: playwright's loop runs in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def rows_of(source: ManifestSource) -> list[dict[str, Any]]:
    """Return the rows of the report, as ``report`` writes them."""
    found: list[dict[str, Any]] = []

    class Writer:
        def write(self, rows: Sequence[Any]) -> None:
            found.extend(rows)

    finished(report(source, Writer()))
    return found


def without_paths(row: dict[str, Any]) -> dict[str, Any]:
    files = [{name: each[name] for name in each if name != "path"} for each in row["files"]]
    return {**row, "files": files}


def source_of(folder: Path) -> ManifestSource:
    from orchestrator.commands.options import ManifestSource as Source

    return Source(folder / "album.yaml")


def test_the_rows_of_the_page_are_the_rows_of_the_report(folder: Path, visit: Visit) -> None:
    expected = [without_paths(row) for row in rows_of(source_of(folder))]

    page = visit.open(folder / "reports" / "page.html")

    assert page.evaluate("reportPage.rows()") == expected
    shown = page.evaluate("[...document.querySelectorAll('tr[data-key]')].map(r => r.dataset)")
    assert [(row["key"], row["state"]) for row in shown] == [
        (row["key"], row["state"]) for row in expected
    ]
    values = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('data')]"
        ".map(d => [d.dataset.name, d.value]))"
    )
    assert (values["jobs"], values["succeeded"], values["failed"]) == ("10", "8", "2")


def test_every_sound_plays_by_its_relative_path(folder: Path, visit: Visit) -> None:
    page = visit.open(folder / "reports" / "page.html")

    played = page.evaluate(
        """async () => {
          const found = [...document.querySelectorAll("tr[data-state=succeeded] audio[data-stem]")];
          return Promise.all(found.map(async (audio) => {
            await audio.play();
            while (!audio.currentTime) await new Promise((again) => setTimeout(again, 10));
            audio.pause();
            return audio.dataset.stem;
          }));
        }"""
    )

    assert sorted(played) == sorted(["input", "voice", "background"] * 8)
    assert visit.problems == []


def test_page_and_sounds_can_be_moved_together(tmp_path: Path, visit: Visit) -> None:
    source = finished(make_library(tmp_path / "before", ["a b.wav"]))
    finished(write_library_page(source, tmp_path / "before" / "reports" / "page.html"))
    (tmp_path / "before").rename(tmp_path / "after#1")

    page = visit.open(tmp_path / "after#1" / "reports" / "page.html")
    page.get_by_role("button", name="Play a b.wav").click()

    visit.wait("document.querySelector('[data-stem=voice]').currentTime > 0.1")


def test_nothing_is_loaded_but_the_page_and_its_sounds(folder: Path, visit: Visit) -> None:
    page = visit.open(folder / "reports" / "page.html")
    page.get_by_role("button", name="Play one.wav").click()
    visit.wait("document.querySelector('[data-stem=voice]').currentTime > 0")

    assert {address.partition(":")[0] for address in visit.requests} == {"file"}
    policy = page.get_attribute("meta[http-equiv=Content-Security-Policy]", "content")
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy


def test_a_hostile_name_runs_no_script_and_is_shown_as_it_is(folder: Path, visit: Visit) -> None:
    page = visit.open(folder / "reports" / "page.html")
    for row in page.locator("tr[data-key]").all():
        row.click()
    page.locator("#more summary").click()

    assert page.evaluate("window.hurt") is None
    assert page.locator("#rows img, #rows script, #groups img, #dock img").count() == 0
    assert NAMES[5] in page.locator("tr[data-key] .name").all_inner_texts()
    assert page.evaluate("document.querySelectorAll('a[href^=\"javascript\"]').length") == 0
    assert visit.problems == []


def test_a_script_that_gets_into_the_page_is_stopped_by_its_policy(
    folder: Path, visit: Visit
) -> None:
    text = (folder / "reports" / "page.html").read_text()
    spoilt = text.replace(
        "<main>", "<main><script>window.hurt = 1</script><img src=x onerror=hurt=2>"
    )
    assert spoilt != text
    (folder / "reports" / "spoilt.html").write_text(spoilt)

    page = visit.open(folder / "reports" / "spoilt.html")

    assert page.evaluate("window.hurt") is None
    assert any("Content Security Policy" in problem for problem in visit.problems)


def test_another_sound_is_heard_at_the_same_second(folder: Path, visit: Visit) -> None:
    page = visit.open(folder / "reports" / "page.html")
    page.get_by_role("button", name="Play one.wav").click()
    visit.wait("document.querySelector('[data-stem=voice]').currentTime > 0.5")

    page.keyboard.press("3")
    visit.wait("document.querySelector('[data-stem=voice]').paused")

    voice, background = page.evaluate(
        "['voice', 'background'].map(s => document.querySelector(`[data-stem=${s}]`))"
        ".map(a => ({at: a.currentTime, paused: a.paused}))"
    )
    assert not background["paused"]
    assert abs(background["at"] - voice["at"]) < 0.4
    assert page.get_by_role("radio", name="Background").get_attribute("aria-checked") == "true"

    page.keyboard.press("Space")
    page.keyboard.press("1")
    background, sound = page.evaluate(
        "['background', 'input'].map(s => document.querySelector(`[data-stem=${s}]`))"
        ".map(a => ({at: a.currentTime, paused: a.paused}))"
    )
    assert sound == {"at": pytest.approx(background["at"], abs=0.05), "paused": True}


def test_loop_volume_and_position_follow_the_keyboard(folder: Path, visit: Visit) -> None:
    page = visit.open(folder / "reports" / "page.html")
    page.keyboard.press("Tab")
    page.locator("tr[data-key]").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    sound = "document.querySelector('tr[data-key=\"v1.key000001\"] [data-stem=voice]')"
    visit.wait(f"{sound}.currentTime > 0")

    for key in ("l", "-", "-", "ArrowRight", "Space"):
        page.keyboard.press(key)

    state = page.evaluate(f"(({{loop, volume, paused}}) => ({{loop, volume, paused}}))({sound})")
    assert state == {"loop": True, "volume": pytest.approx(0.8), "paused": True}
    page.keyboard.press("Escape")
    assert not page.locator("#dock").is_visible()
    assert page.evaluate("document.activeElement.dataset.key") == "v1.key000001"


def test_a_sound_that_is_gone_is_named(folder: Path, tmp_path: Path, visit: Visit) -> None:
    source = finished(make_library(tmp_path, ["gone.wav"], sounds=0))
    finished(write_library_page(source, tmp_path / "page.html"))

    page = visit.open(tmp_path / "page.html")
    page.get_by_role("button", name="Play gone.wav").click()

    page.get_by_text("Voice cannot be played.").wait_for()


def test_only_the_rows_in_view_are_in_the_document(long_page: Path, visit: Visit) -> None:
    page = visit.open(long_page)
    page.locator("tr[data-key]").first.focus()
    page.keyboard.press("End")

    page.locator('tr[data-key="v1.key001199"]').wait_for()
    assert page.locator("tr[data-key]").count() < 150
    assert page.locator('tr[data-key="v1.key001199"]').get_attribute("aria-rowindex") == "1201"
    assert page.evaluate("document.activeElement.dataset.key") == "v1.key001199"


def test_a_sound_plays_on_while_its_row_is_out_of_view(long_page: Path, visit: Visit) -> None:
    page = visit.open(long_page)
    page.get_by_role("button", name="Play track 0.wav").click()
    visit.wait("document.querySelector('#rows [data-stem=voice]').currentTime > 0")
    page.evaluate("document.querySelector('#rows [data-stem=voice]').id = 'mine'")

    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    page.locator('tr[data-key="v1.key001199"]').wait_for()
    before = page.evaluate("document.getElementById('mine').currentTime")
    visit.wait(f"document.getElementById('mine').currentTime > {before}")
    assert page.evaluate("document.getElementById('mine').closest('tr')") is None

    page.evaluate("document.getElementById('jobs').scrollIntoView()")
    visit.wait("document.getElementById('mine').closest('tr') !== null")
    assert page.evaluate("document.getElementById('mine').paused") is False


def test_the_row_of_the_player_is_not_hidden_behind_it(long_page: Path, visit: Visit) -> None:
    page = visit.open(long_page)
    page.evaluate("document.getElementById('jobs').scrollIntoView()")
    rows = "[...document.querySelectorAll('tr[data-key]')]"
    page.evaluate(f"{rows}.findLast(r => r.getBoundingClientRect().bottom < innerHeight).click()")

    row, dock = page.evaluate(
        "['tr[aria-current]', '#dock'].map(s => document.querySelector(s).getBoundingClientRect())"
    )
    assert row["bottom"] <= dock["top"]


def test_the_table_filters_sorts_and_searches(long_page: Path, visit: Visit) -> None:
    page = visit.open(long_page)
    names = page.locator("tr[data-key] .name")

    page.keyboard.press("/")
    page.keyboard.type("TRACK 119")
    assert page.locator("#count").inner_text() == "12 of 1,200 jobs"

    page.get_by_role("button", name="Object").click()
    page.get_by_role("button", name="Object").click()
    assert names.all_inner_texts()[:2] == ["track 1199.wav", "track 1198.wav"]
    assert (
        page.get_by_role("columnheader", name="Object").get_attribute("aria-sort") == "descending"
    )

    page.get_by_label("Level").select_option("2")
    assert page.locator("#count").inner_text() == "5 of 1,200 jobs"
    assert "sort=-object" in page.url
    page.get_by_role("button", name="Clear").click()
    visit.wait("document.getElementById('count').textContent === '1,200 jobs'")


def test_a_link_leads_to_the_rows_that_it_names(long_page: Path, visit: Visit) -> None:
    page = visit.follow(f"{long_page.as_uri()}#q=track+77&sort=-object")

    assert page.locator("tr[data-key] .name").first.inner_text() == "track 1177.wav"


def test_failures_are_grouped_and_lead_to_their_rows(folder: Path, visit: Visit) -> None:
    page = visit.open(folder / "reports" / "page.html")
    group = page.locator("#groups .group")

    assert "failed ResourceNotSupported: 2 jobs" in group.inner_text()
    assert "Convert these files" in group.inner_text()
    group.get_by_role("button").click()

    assert page.locator("#count").inner_text() == "2 of 10 jobs"
    assert page.locator("tr[data-key]").first.get_attribute("data-state") == "failed"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280, 3840])
def test_the_page_fits_its_width_in_both_themes(
    folder: Path, browser: Browser, width: int, scheme: Any
) -> None:
    visit = Visit(browser, viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = visit.open(folder / "reports" / "page.html")
    page.locator("tr[data-key]").first.click()

    wide, backdrop = page.evaluate(
        "[document.documentElement.scrollWidth, getComputedStyle(document.body).backgroundColor]"
    )
    visit.close()

    assert wide <= width
    assert (sum(json.loads(f"[{backdrop[4:-1]}]")) > 300) == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_a_checker_of_accessibility_finds_nothing(
    folder: Path, browser: Browser, width: int, scheme: Any
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    options = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    visit = Visit(browser, bypass_csp=True, **options)  # the checker is a script of its own
    page = visit.open(folder / "reports" / "page.html")
    page.locator("tr[data-key]").first.click()
    page.locator("#more summary").click()

    found = Axe().run(page)
    visit.close()

    assert found.response["violations"] == []


def test_names_keep_their_direction_and_waveforms_are_drawn(folder: Path, visit: Visit) -> None:
    page = visit.open(folder / "reports" / "page.html")
    name = page.get_by_text("مقابلة 3.wav")
    assert name.evaluate("each => each.localName") == "bdi"

    name.click()

    drawn = page.evaluate(
        """[...document.querySelectorAll(".wave canvas")].map((canvas) => {
          const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return data.some(Boolean);
        })"""
    )
    keys = page.evaluate("JSON.parse(document.getElementById('drawings').textContent)")
    assert drawn == [True, True, True]
    assert len(keys) == len(NAMES)


def test_the_page_prints_its_totals_and_rows_without_controls(
    long_page: Path, visit: Visit
) -> None:
    page = visit.open(long_page)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")

    assert page.locator("tr[data-key]").count() == 1000
    assert "200 more jobs" in page.locator("#print-note").inner_text()
    assert not page.locator("#filter").is_visible()
    assert page.get_by_text("All 1,200 jobs succeeded.").is_visible()


def test_a_dark_page_prints_its_drawings_light_and_is_dark_again(
    folder: Path, browser: Browser
) -> None:
    visit = Visit(browser, color_scheme="dark")
    page = visit.open(folder / "reports" / "page.html")
    darkness = """() => {
      const canvas = document.querySelector("#throughput canvas"), pen = canvas.getContext("2d");
      const {data} = pen.getImageData(0, canvas.height * 0.9, canvas.width, canvas.height * 0.1);
      const lit = [...data].filter((_, n) => n % 4 === 0 && data[n + 3] > 200);
      return Math.min(...lit);
    }"""
    before = page.evaluate(darkness)

    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    printed = page.evaluate(darkness)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    after = page.evaluate(darkness)
    visit.close()

    assert printed < before, "the labels are darker"
    assert after == before


def test_the_theme_is_chosen_by_a_button_and_kept(folder: Path, visit: Visit) -> None:
    page = visit.open(folder / "reports" / "page.html")
    back = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(back)

    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    dark = page.evaluate(back)
    visit.open(folder / "reports" / "page.html")

    assert dark != light
    assert page.evaluate(back) == dark
    assert page.get_by_role("button", name="Theme: dark").is_visible()


def test_rows_and_totals_can_be_changed_from_outside(folder: Path, visit: Visit) -> None:
    page = visit.open(folder / "reports" / "page.html")
    row = cast("dict[str, Any]", page.evaluate("reportPage.row('v1.key000008')"))
    changed = {**row, "state": "succeeded", "code": "", "message": ""}
    new = {**row, "key": "v1.new", "input": {**row["input"], "object": "new.wav"}}

    page.evaluate("([rows]) => reportPage.put(rows)", [[changed, new]])
    page.evaluate(
        "reportPage.totals({jobs: 11, open: 3, states: {succeeded: 9, failed: 2},"
        "verdict_text: 'Working.'})"
    )

    state = page.locator('tr[data-key="v1.key000008"]').get_attribute("data-state")
    assert state == "succeeded"
    assert page.evaluate("reportPage.row('v1.new')") == new
    assert page.locator("data[data-name=open]").inner_text() == "3"
    assert page.get_by_text("Working.").is_visible()
    assert visit.problems == []


def linked_page(path: Path, life_s: float) -> tuple[SignedLinks, list[str]]:
    """Write a page with links; return what signed them, and the names of its inputs."""
    names = ["a b+c.mp3", "(1)!'*.wav", "采访/第1集.m4a"]
    links = SignedLinks(Credentials("AKIDEXAMPLE", "secret"), SystemClock().now(), life_s)
    rows: list[Any] = [make_row(number) for number in range(len(names))]
    for each, name in zip(rows, names, strict=True):
        each["input"].update(bucket="media-1250000000", region="ap-chongqing", object=name)
    with PageWriter(Places(path.parent, None, links)) as writer, path.open("wb") as file:
        writer.write(rows)
        writer.finish(file, {**writer.totals, **FACTS, "is_linked": True}, {})
    return links, names


def test_signed_links_are_those_of_the_client_for_any_name(tmp_path: Path, visit: Visit) -> None:
    links, names = linked_page(tmp_path / "page.html", 3600)

    page = visit.open(tmp_path / "page.html")

    found = page.evaluate("[...document.querySelectorAll('[data-stem=input]')].map(a => a.src)")
    expected = [links.url("media-1250000000", "ap-chongqing", name) for name in names]
    assert [unquote(address) for address in found] == [unquote(address) for address in expected]
    assert "Sounds play by links until" in page.locator("#expiry").inner_text()
    assert visit.requests == [page.url]  # nothing is loaded before it is played


def test_links_that_have_expired_are_named(tmp_path: Path, visit: Visit) -> None:
    linked_page(tmp_path / "page.html", -5)

    page = visit.open(tmp_path / "page.html")
    page.locator("tr[data-key]").first.click()

    assert "expired" in page.locator("#expiry").inner_text()
    assert "The links of this page have expired" in page.locator("#problem").inner_text()
