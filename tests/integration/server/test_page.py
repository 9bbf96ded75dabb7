"""The service's page: who gets it, what it shows, and what it does not let through."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from orchestrator.server.faults.script import Faults
from orchestrator.server.pace import Progression
from tests.browser import PATIENCE_MS, Visit, running_browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.server.conftest import Answer, Bench, Benches

HERE = Path(__file__).parent
BUCKET = "media-1250000000"
COS = f"{BUCKET}.cos.ap-chongqing.myqcloud.com"
TOKEN = "a token of nothing"
WORK: dict[str, Any] = {"work": "poison:behave", "progression": Progression()}
HOSTILE = "<img src=x onerror=window.hurt=1> & \"'.mp3"


@pytest.fixture(autouse=True)
def _poison_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))


async def asked(bench: Bench, path: str = "/", *, cookie: str = "", **headers: str) -> Answer:
    """Ask as a browser does."""
    sent = {"Accept": "text/html,*/*;q=0.8", **headers, **({"Cookie": cookie} if cookie else {})}
    host = URL(bench.service.url).authority
    return await bench.raw("GET", path, host=host, headers=sent, wire_path=path, authorization="")


async def logged_in(bench: Bench, token: str = TOKEN) -> Answer:
    url = f"{bench.service.url}/_orchestrator/login"
    async with bench.http.post(url, data={"token": token}, allow_redirects=False) as answer:
        from tests.integration.server.conftest import Answer as Given

        return Given(answer.status, answer.headers, await answer.read())


async def cookie_of(bench: Bench) -> str:
    cookie: str = (await logged_in(bench)).headers["Set-Cookie"]
    return cookie.partition(";")[0]


async def test_without_a_token_there_is_no_page(bench: Bench) -> None:
    page = await asked(bench)
    login = await logged_in(bench)

    assert (page.status, page.headers["Content-Type"]) == (403, "application/xml")
    assert login.status in {401, 403}
    assert "Set-Cookie" not in login.headers


async def test_the_page_needs_the_token(start: Benches) -> None:
    bench = await start(control_token=TOKEN)

    form = await asked(bench)
    part = await asked(bench, "/_orchestrator/page/part")
    wrong = await logged_in(bench, "another")
    forged = await asked(bench, cookie="orchestrator_page=00")
    right = await logged_in(bench)
    page = await asked(bench, cookie=right.headers["Set-Cookie"].partition(";")[0])

    assert [answer.status for answer in (form, part, wrong, forged)] == [401, 401, 403, 401]
    assert "<form" in form.text
    assert "Set-Cookie" not in wrong.headers
    assert (right.status, right.headers["Location"]) == (303, "/")
    assert {"HttpOnly", "SameSite=Strict"} <= set(right.headers["Set-Cookie"].split("; "))
    assert TOKEN not in right.headers["Set-Cookie"]
    assert page.status == 200
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"<style|style=|<script(?! src)|\son\w+=", page.text)


async def test_clients_still_list_a_bucket_at_the_same_address(start: Benches) -> None:
    bench = await start(control_token=TOKEN, bucket=BUCKET)
    host = URL(bench.service.url).authority
    browser = {"Accept": "text/html"}

    signed = await bench.raw("GET", "/", host=host, headers=browser)
    of_the_vendor = await bench.raw("GET", "/", host=COS, headers=browser, authorization="")
    simple = await bench.raw("GET", "/", host=host, authorization="")

    assert "<ListBucketResult>" in signed.text
    assert of_the_vendor.headers["Content-Type"] == "application/xml"
    assert simple.headers["Content-Type"] == "application/xml"


async def test_the_page_shows_queue_jobs_faults_and_files(
    start: Benches, job_body: Callable[..., str]
) -> None:
    faults = Faults.parse({"faults": [{"route": "list", "code": "SlowDown", "times": 1}]})
    bench = await start(control_token=TOKEN, **WORK, faults=faults)
    (bench.root / BUCKET / HOSTILE).write_text("fine")
    escaped = HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    done = await bench.submit(job_body(escaped))
    await bench.ended(done)
    await bench.ended(await bench.submit(job_body("in/missing.mp3")))
    await bench.raw("GET", "/jobs")
    before = bench.service.state()["requests"]

    page = (await asked(bench, cookie=await cookie_of(bench))).text
    rows = re.findall(r'<li id="(\w+)" data-state="(\w+)">', page)

    assert [state for _, state in rows] == ["Failed", "Success"]
    assert rows[1][0] == done
    assert "ResourceNotFound" in page
    assert "code: SlowDown" in page
    assert "fault at list: refuse SlowDown" in page
    assert "out/v.mp3" in page
    assert "<img" not in page
    assert "&lt;img src=x" in page
    assert bench.service.state()["requests"] == before
    assert re.findall('<audio data-stem="(.*?)"', page) == ["input", "voice", "background"]


async def links(bench: Bench, cookie: str) -> list[str]:
    page = (await asked(bench, cookie=cookie)).text
    found = re.findall(r'(?:src|href)="(/_orchestrator/media/[^"]*)"', page)
    return [link.replace("&amp;", "&") for link in found]


async def test_a_link_of_the_page_opens_one_object_for_reading(start: Benches) -> None:
    bench = await start(control_token=TOKEN)
    (bench.root / BUCKET / "a b+c.html").write_bytes(b"<script>alert(1)</script>")
    (bench.root / BUCKET / "secret").write_bytes(b"secret")
    cookie = await cookie_of(bench)
    link = next(link for link in await links(bench, cookie) if "html" in link)

    whole = await asked(bench, link)
    part = await asked(bench, link, Range="bytes=1-6")
    other = await asked(bench, link.replace("a%20b%2Bc.html", "secret"))
    later = await asked(bench, link.replace("until=1", "until=2"))
    bare = await asked(bench, link.partition("?")[0], cookie=cookie)
    written = await bench.http.delete(URL(bench.service.url + link, encoded=True))

    assert whole.body == b"<script>alert(1)</script>"
    assert (part.status, part.body) == (206, b"script")
    assert [answer.status for answer in (other, later, bare)] == [403, 403, 403]
    assert written.status == 404
    assert (bench.root / BUCKET / "a b+c.html").exists()
    # A browser does not run it as a part of the page.
    assert whole.headers["Content-Security-Policy"] == "sandbox"
    assert whole.headers["X-Content-Type-Options"] == "nosniff"


async def test_files_are_shown_by_bucket_and_in_pages(start: Benches) -> None:
    bench = await start(control_token=TOKEN)
    (bench.root / "other-1250000000").mkdir()
    for number in range(60):
        (bench.root / BUCKET / f"{number:02d}").touch()
    cookie = await cookie_of(bench)

    first = await asked(bench, cookie=cookie)
    second = await asked(bench, f"/?bucket={BUCKET}&after=49", cookie=cookie)
    other = await asked(bench, "/?bucket=other-1250000000", cookie=cookie)
    unknown = await asked(bench, "/?bucket=../../etc", cookie=cookie)

    keys = [re.findall("<bdi>(.*?)</bdi>", page.text) for page in (first, second, other)]
    assert [len(found) for found in keys] == [50, 10, 0]
    assert f'href="/?bucket={BUCKET}&amp;after=49"' in first.text
    assert "etc" not in unknown.text


def visit(url: str, submit: Callable[[], object]) -> dict[str, Any]:
    """Log in, watch a job arrive, and play its stems in turn."""
    seen: dict[str, Any] = {}
    with running_browser() as browser:
        for scheme in ("light", "dark"):
            visit = Visit(browser, color_scheme=scheme)
            page = visit.page
            page.goto(url)
            page.fill("input[name=token]", TOKEN)
            page.click("button")
            page.locator("body[data-ready=yes]").wait_for()
            seen[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
            if scheme == "light":
                submit()
                page.locator("li[data-state=Success]").wait_for(timeout=PATIENCE_MS)
                visit.wait("[...document.querySelectorAll('audio')].length === 3")
                page.evaluate("document.querySelector('audio[data-stem=voice]').play()")
                visit.wait("document.querySelector('audio[data-stem=voice]').ended")
                seen["hurt"] = page.evaluate("window.hurt")
            # The form itself is answered with 401, which the console mentions.
            seen[f"problems {scheme}"] = [text for text in visit.problems if "401" not in text]
            visit.close()
    return seen


@pytest.mark.slow
async def test_a_browser_follows_the_jobs_and_plays_their_stems(
    start: Benches, job_body: Callable[..., str]
) -> None:
    bench = await start(control_token=TOKEN, **WORK)
    (bench.root / BUCKET / "in").mkdir()
    (bench.root / BUCKET / "in" / "a.mp3").write_text("fine")
    (bench.root / BUCKET / HOSTILE).write_text("fine")
    loop = asyncio.get_running_loop()

    def submit() -> None:
        asyncio.run_coroutine_threadsafe(bench.submit(job_body()), loop).result(10)

    seen = await asyncio.to_thread(visit, bench.service.url, submit)

    assert seen["problems light"] == seen["problems dark"] == []
    assert seen["hurt"] is None
    assert seen["light"] != seen["dark"]
