"""``run --live``: a page that shows the run while it works."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from orchestrator.server.pace import Pace, Progression
from tests.browser import Visit, running_browser

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.playground import Going, Playground

pytestmark = pytest.mark.slow

AT_ONCE = Progression(pace=Pace.SECONDS, finish_after=0.0)
HELD = Progression(pace=Pace.HOLD)


def started(here: Playground, address: str = "127.0.0.1:0", **options: Any) -> tuple[Going, str]:
    """Start a run that is shown; return it, and the address of its page."""
    process = here.start("run", "album.yaml", "--live", address, **options)
    process.wait_for("Live page: ")
    found = re.search(r"Live page: (\S+)", process.said[-1])
    assert found is not None
    return process, found[1]


def read(url: str, **headers: str) -> tuple[int, str]:
    """Return status and body."""
    answer = requests.get(url, headers=headers, timeout=60)
    return answer.status_code, answer.text


def events(url: str, **headers: str) -> list[tuple[str, Any, str]]:
    """Return the events until the server ends them: kind, content and id."""
    _, text = read(f"{url}events", **headers)
    found = []
    for block in filter(None, text.split("\n\n")):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((fields["event"], json.loads(fields["data"]), fields.get("id", "")))
    return found


def test_the_page_follows_the_run_to_its_end(here: Playground) -> None:
    assert here.service is not None
    here.service.pace(HELD)
    here.write("in/a.mp3", "in/b.mp3", "in/c.mp3")
    process, url = started(here)

    with running_browser() as browser:
        visit = Visit(browser)
        page = visit.follow(url)
        visit.wait("document.getElementById('now').dataset.state === 'open'")
        visit.wait("document.getElementById('now-facts').textContent.includes('3 queued')")
        assert page.locator("tr[data-key]").count() == 0
        here.service.pace(AT_ONCE)
        visit.wait("document.querySelectorAll('tr[data-key]').length === 3")
        visit.wait("document.getElementById('now').dataset.state === 'over'")
        shown = page.evaluate("window.reportPage.rows().map((row) => [row.key, row.state]).sort()")
        succeeded = page.locator("data[data-name=succeeded]").get_attribute("value")
        verdict = page.locator("[data-name=verdict_text]").text_content()

    finished = process.finish()
    assert finished.code == 0
    assert shown == sorted([row["key"], row["state"]] for row in here.rows())
    assert (succeeded, verdict) == ("3", "All 3 jobs succeeded.")
    assert visit.problems == []


def test_events_continue_behind_the_last_one_that_was_received(here: Playground) -> None:
    assert here.service is not None
    here.write("in/a.mp3", "in/b.mp3", "in/c.mp3")
    here.service.pace(HELD)
    process, url = started(here)
    status, health = read(f"{url}healthz")
    _, metrics = read(f"{url}metrics")
    here.service.pace(AT_ONCE)
    first = events(url)

    assert process.finish().code == 0
    assert (status, json.loads(health)["status"]) == (200, "running")
    assert 'orchestrator_run_exit_code{manifest="album"} -1.0' in metrics
    keys = [row["key"] for kind, rows, _ in first if kind == "rows" for row in rows]
    assert keys == [row["key"] for row in here.rows()]
    assert first[-1][0] == "end"
    last = [number for kind, _, number in first if kind == "rows"][-1]

    here.service.pace(HELD)
    here.write("in/a.mp3", "in/b.mp3", "in/c.mp3", "in/d.mp3")
    process, url = started(here)
    assert events(url, **{"Last-Event-ID": last})[-1][0] == "reload", "it is another run"
    here.service.pace(AT_ONCE)
    second = events(url)
    assert process.finish().code == 0
    assert [len(rows) for kind, rows, _ in second if kind == "rows"] == [1]


def test_other_machines_need_the_token_and_other_sites_see_nothing(here: Playground) -> None:
    assert here.service is not None
    here.service.pace(HELD)
    here.write("in/a.mp3")
    process, url = started(here, "0.0.0.0:0", env={"ORCHESTRATOR_LIVE_TOKEN": "a-long-word"})
    bare = f"http://127.0.0.1:{urlsplit(url).port}/"

    assert url.endswith("/?token=a-long-word")
    assert read(bare)[0] == 401
    assert "it ends in ?token=..." in read(f"{bare}events")[1]
    assert read(f"{bare}metrics", Authorization="Bearer a-long-word")[0] == 200
    assert read(f"{bare}metrics", Authorization="Bearer another")[0] == 401
    assert read(f"{bare}healthz")[0] == 200
    with running_browser() as browser:
        visit = Visit(browser)
        page = visit.follow(f"{bare}?token=a-long-word")
        visit.wait("document.getElementById('now').dataset.state === 'open'")
        assert page.url == bare
    here.service.pace(AT_ONCE)
    assert process.finish().code == 0

    here.service.pace(HELD)
    here.write("in/b.mp3")
    process, url = started(here)
    assert read(url, Host="attacker.example")[0] == 403
    assert read(url, Host="localhost:1")[0] == 200
    here.service.pace(AT_ONCE)
    assert process.finish().code == 0


def test_only_sounds_of_buckets_are_served(here: Playground, tmp_path: Path) -> None:
    assert here.service is not None
    here.service.pace(HELD)
    (tmp_path / "private.mp3").write_bytes(b"mine")
    here.write("in/a.mp3")
    process, url = started(here)

    for path in (
        "media/%2ftmp/x.mp3",
        f"media/{quote(str(tmp_path), safe='')}/private.mp3",
        "media/..%2f../private.mp3",
        "media/media-1250000000%2f..%2f../private.mp3",
        "media/%2e/private.mp3",
        "media/media-1250000000/%00.mp3",
        f"media/media-1250000000/{'x' * 300}.mp3",
    ):
        assert read(f"{url}{path}")[0] == 404, path
    here.service.pace(AT_ONCE)
    assert "Traceback" not in process.finish().err


def test_an_address_that_is_taken_or_not_one_ends_with_2_before_a_job(here: Playground) -> None:
    assert here.service is not None
    here.write("in/a.mp3")
    port = here.service.url.rpartition(":")[2].strip("/")

    taken = here.run("--live", f"127.0.0.1:{port}")
    wrong = here.run("--live", "everywhere")

    assert (taken.code, wrong.code) == (2, 2)
    assert f"--live 127.0.0.1:{port}: cannot listen there" in taken.err
    assert "--live everywhere: write it as HOST:PORT" in wrong.err
    assert here.service.jobs() == []


def test_an_address_that_is_taken_while_a_run_waits_costs_only_the_page(here: Playground) -> None:
    assert here.service is not None
    here.service.pace(HELD)
    here.write("in/a.mp3", limits={"timeout_s": 1})
    first = here.start("run", "album.yaml", "--log-json")
    first.wait_for('"job_accepted"')
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    second = here.start("run", "album.yaml", "--wait", "--json", "--live", f"127.0.0.1:{port}")
    second.wait_for("This run waits")

    with socket.create_server(("127.0.0.1", port)):
        first.kill()
        here.service.pace(AT_ONCE)
        done = second.finish()

    assert done.code == 0, done.err
    assert f"--live 127.0.0.1:{port}: cannot listen there" in done.err
    assert "The run continues without its live page." in done.err
    assert done.json()["jobs"]["succeeded"] == 1


@pytest.mark.parametrize("is_free", [True, False])
def test_a_quiet_run_says_only_an_address_that_cannot_be_known(
    here: Playground, is_free: bool
) -> None:
    """Whoever names a port knows the page, and cron sends no mail about it."""
    assert here.service is not None
    here.service.pace(AT_ONCE)
    here.write("in/a.mp3")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    done = here.run("--quiet", "--live", f"127.0.0.1:{0 if is_free else port}")

    assert (done.code, done.out) == (0, "")
    wanted = r"orchestrator: Live page: http://127\.0\.0\.1:[1-9]\d+/\n" if is_free else ""
    assert re.fullmatch(wanted, done.err)
