"""Notifications when a run has ended."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.commands.notify import Outcome, check_notify, notify
from orchestrator.errors import ConfigError
from orchestrator.manifest.schema.notify import NotifySettings

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "ORCHESTRATOR_NOTIFY_URL"
STATES = ("succeeded", "failed", "rejected", "cancelled", "unfinished")


class _Mailbox(HTTPServer):
    """Takes messages, as a chat service does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.messages: list[dict[str, Any]] = []
        self.status = 200


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, _Mailbox)
        size = int(self.headers["Content-Length"])
        self.server.messages.append(json.loads(self.rfile.read(size)))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mailbox() -> Iterator[_Mailbox]:
    """A loopback HTTP server."""
    with _Mailbox() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class _Manifest:
    name = "nightly"

    def __init__(self, on: str) -> None:
        self.notify = (NotifySettings.model_validate({"to": f"env:{VARIABLE}", "on": on}),)


def outcome(code: int = 0, *, is_complete: bool = True, **jobs: int) -> Outcome:
    summary = {
        "run": "nightly-20261122T010000Z",
        "jobs": {"total": 3, "skipped": 0} | dict.fromkeys(STATES, 0) | jobs,
        "complete": is_complete,
        "calls": {},
        "elapsed_s": 3,
        "report": "r.jsonl",
    }
    rows = [
        {
            "state": "failed",
            "code": "Odd",
            "message": "no sound",
            "input": {"object": "in/a.mp3"},
        }
    ]
    return Outcome("nightly", code, summary, failures=rows if code == 1 else ())


@pytest.mark.parametrize(
    ("on", "code", "is_complete", "is_sent"),
    [
        ("always", 0, True, True),
        ("failed", 0, True, False),
        ("failed", 1, True, True),
        ("failed", 6, False, True),
        ("stopped", 0, True, False),
        ("stopped", 1, True, False),
        ("stopped", 6, False, True),
    ],
)
async def test_a_notification_is_sent_on_its_occasion(
    mailbox: _Mailbox,
    monkeypatch: pytest.MonkeyPatch,
    on: str,
    code: int,
    is_complete: bool,
    is_sent: bool,
) -> None:
    monkeypatch.setenv(VARIABLE, f"json://127.0.0.1:{mailbox.server_port}")

    complaints = await notify(_Manifest(on), outcome(code, is_complete=is_complete))  # type: ignore[arg-type]

    assert complaints == []
    assert len(mailbox.messages) == is_sent


async def test_a_notification_has_the_summary_and_the_first_failures(
    mailbox: _Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"json://127.0.0.1:{mailbox.server_port}")

    await notify(_Manifest("failed"), outcome(1, succeeded=2, failed=1))  # type: ignore[arg-type]

    (message,) = mailbox.messages
    assert message["title"] == "nightly ended: 2 succeeded, 1 did not (exit code 1)"
    assert "run nightly-20261122T010000Z: 3 jobs" in message["message"]
    assert "failed in/a.mp3: Odd: no sound" in message["message"]


async def test_a_run_that_could_not_begin_is_notified_with_the_reason(
    mailbox: _Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, f"json://127.0.0.1:{mailbox.server_port}")

    await notify(_Manifest("stopped"), Outcome("nightly", 3, reason="No credentials."))  # type: ignore[arg-type]

    (message,) = mailbox.messages
    assert message["title"] == "nightly could not run (exit code 3)"
    assert message["message"] == "No credentials."


@pytest.mark.parametrize("trouble", ["refused", "unreachable"])
async def test_what_cannot_be_sent_is_said_without_the_address(
    mailbox: _Mailbox,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    trouble: str,
) -> None:
    mailbox.status = 500
    port = mailbox.server_port if trouble == "refused" else 9
    monkeypatch.setenv(VARIABLE, f"json://user:hunter2@127.0.0.1:{port}")

    (text,) = await notify(_Manifest("always"), outcome())  # type: ignore[arg-type]

    assert text == (
        f"The notification to env:{VARIABLE} was not sent: "
        "the service refused it or could not be reached."
    )
    assert "hunter2" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, f"environment variable {VARIABLE} is not set"),
        ("", f"environment variable {VARIABLE} is not set"),
        ("hunter2", f"value of {VARIABLE} is not an address that apprise knows"),
        ("odd://hunter2", f"value of {VARIABLE} is not an address that apprise knows"),
    ],
)
def test_a_faulty_address_is_found_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    value: str | None,
    text: str,
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)

    with pytest.raises(ConfigError, match=text) as caught:
        check_notify(_Manifest("failed"))  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value) + "".join(capfd.readouterr())
