"""``orchestrator serve --workers ray``: a cluster of this machine that lives with the command.

Nothing is reported to anyone, and nothing is left behind.
"""

from __future__ import annotations

import os
import shutil
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.install.installed import CACHE_VARIABLE, cache_dir
from tests.e2e.playground import BUCKET, Playground, until
from tests.e2e.test_embedded import write_tone

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest.importorskip("ray", reason="needs the extra [ray]; CONTRIBUTING.md says how to install it")
pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.crash]
LIMIT_S = 120.0  # Ray starts a dozen processes, and this machine may be busy


def environments(folder: Path) -> dict[int, dict[str, str]]:
    """Return the environments of the processes whose temporary folder is ``folder``, by pid."""
    found = {}
    for place in Path("/proc").iterdir():
        try:
            raw = (place / "environ").read_bytes() if place.name.isdecimal() else b""
        except OSError:  # of another user, or it has ended
            continue
        pairs = dict(item.partition("=")[::2] for item in raw.decode("latin-1").split("\0"))
        if pairs.get("TMPDIR") == str(folder):
            found[int(place.name)] = pairs
    return found


@contextmanager
def collecting() -> Iterator[tuple[str, list[str]]]:
    """Run a server that stands in for the one that collects Ray's reports."""
    seen: list[str] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            seen.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Playground]:
    place = Playground(tmp_path)
    write_tone(tmp_path / "root" / BUCKET / "in/a.wav")
    # A short one: the sockets of Ray have at most 107 bytes.
    temporary = Path(f"/tmp/orch-test-{os.getpid()}")  # noqa: S108
    temporary.mkdir()
    place.environment = {CACHE_VARIABLE: str(cache_dir()), "TMPDIR": str(temporary)}
    yield place
    shutil.rmtree(temporary)


def test_it_separates_reports_to_no_one_and_leaves_nothing_even_if_it_is_killed(
    place: Playground,
) -> None:
    temporary = Path(str(place.environment["TMPDIR"]))
    with collecting() as (url, seen):
        going = place.start(
            *("serve", "--root", "root", "--listen", "127.0.0.1:0", "--workers", "ray"),
            env={
                "RAY_USAGE_STATS_ENABLED": "1",  # the user's own setting does not count
                "RAY_USAGE_STATS_REPORT_URL": url,
                "RAY_USAGE_STATS_REPORT_INTERVAL_S": "1",
            },
        )
        assert going.process.stdout is not None
        try:
            said = [going.process.stdout.readline() for _ in range(4)]
            assert said[3] == "workers:    Ray cluster of this machine\n"
            service = said[0].split()[-1]
            place.write("in/a.wav", service={"ci": service, "cos": service})
            run = place.run(limit_s=LIMIT_S)
            rays = {
                pid: variables
                for pid, variables in environments(temporary).items()
                if "RAY_TMPDIR" in variables
            }
        finally:
            going.kill()

    assert (run.code, run.err) == (0, run.err)
    assert place.rows()[0]["state"] == "succeeded"
    assert len(rays) > 3, "the processes of Ray"
    # Ray's workers put their titles into the memory in which their environment began.
    statistics = "RAY_USAGE_STATS_ENABLED"
    assert {each[statistics] for each in rays.values() if statistics in each} == {"0"}
    assert seen == []
    tokens = {each["RAY_AUTH_TOKEN"] for each in rays.values() if "RAY_AUTH_TOKEN" in each}
    assert [len(token) for token in tokens] == [64], "no one else gets in"
    assert not (place.folder / "home" / ".ray").exists()
    until(lambda: not environments(temporary), "its processes end", LIMIT_S)
    assert list(temporary.iterdir()) == []
