"""Notifications and metrics of the installed command."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.playground import Playground

pytestmark = pytest.mark.slow


def test_a_run_notifies_and_writes_its_metrics(here: Playground) -> None:
    titles: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            titles.append(json.loads(self.rfile.read(size))["title"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    here.write("in/a.mp3", notify=[{"to": "env:NOTIFY", "on": "always"}])
    metrics = here.folder / "orchestrator.prom"
    with HTTPServer(("127.0.0.1", 0), Handler) as mailbox:
        thread = threading.Thread(target=mailbox.serve_forever, args=(0.01,))
        thread.start()
        here.environment["NOTIFY"] = f"json://127.0.0.1:{mailbox.server_port}"
        done = here.run("--metrics-file", str(metrics))
        mailbox.shutdown()
        thread.join()

    assert done.code == 0, done.err
    assert titles == ["album ended: 1 succeeded, 0 did not (exit code 0)"]
    text = metrics.read_text()
    assert 'orchestrator_jobs{manifest="album",state="succeeded"} 1.0' in text
    assert 'orchestrator_run_exit_code{manifest="album"} 0.0' in text


def test_a_missing_address_is_refused_before_the_first_job(here: Playground) -> None:
    here.write("in/a.mp3", notify=[{"to": "env:NOTIFY"}])
    metrics = here.folder / "orchestrator.prom"

    refused = here.run("--metrics-file", str(metrics))

    assert refused.code == 2
    assert "the environment variable NOTIFY is not set" in refused.err
    assert 'orchestrator_run_exit_code{manifest="album"} 2.0' in metrics.read_text()
    assert not here.reports()


def test_an_address_in_the_manifest_is_refused(here: Playground) -> None:
    here.write("in/a.mp3", notify=[{"to": "mailto://me:hunter2@example.com"}])

    refused = here.run()

    assert refused.code == 2
    assert "A notification address is a secret" in refused.err
    assert "hunter2" not in refused.err
