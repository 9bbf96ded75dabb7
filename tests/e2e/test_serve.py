"""``orchestrator serve`` as a service for other clients."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from qcloud_cos import CosConfig, CosS3Client

from tests.e2e.playground import BUCKET, KEYS, REGION, Going, Playground, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
QUICK_WORK = "progression: {pace: immediate}\n"


@dataclass
class Serving:
    """A service that runs as a command, and its output at the start."""

    going: Going
    said: dict[str, str]

    @property
    def url(self) -> str:
        """Address of the service."""
        return self.said["serving"].rpartition(" ")[2]


@contextmanager
def serving(
    place: Playground, *options: str, lines: int = 3, **environment: str | None
) -> Iterator[Serving]:
    """Run ``orchestrator serve`` on a free port; it must end cleanly with the block."""
    going = place.start(
        "serve", "--root", "root", "--listen", "127.0.0.1:0", *options, env=environment
    )
    process: subprocess.Popen[str] = going.process
    try:
        assert process.stdout is not None
        said = [process.stdout.readline() for _ in range(lines)]
        assert all(said), process.communicate()
        yield Serving(going, {line.split()[0].rstrip(":"): line.rstrip("\n") for line in said})
    finally:
        process.terminate()
        done = going.finish()
    assert (done.code, done.out) == (0, "")


@pytest.fixture
def alone(tmp_path: Path) -> Playground:
    """Return a folder without a running service, and with the bucket's folder."""
    (tmp_path / "root" / BUCKET).mkdir(parents=True)
    return Playground(tmp_path)


def asked(url: str, token: str) -> Any:
    request = urllib.request.Request(url, headers={"x-control-token": token})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def test_a_client_without_a_bucket_in_its_host_gets_the_default_bucket(alone: Playground) -> None:
    with serving(alone, "--bucket", BUCKET, "--region", REGION, lines=4) as service:
        domain = service.url.removeprefix("http://")
        config = CosConfig(
            Domain=domain,
            Scheme="http",
            Region=REGION,
            SecretId=KEYS.secret_id,
            SecretKey=KEYS.secret_key,
        )
        CosS3Client(config).put_object(BUCKET, b"RIFF", "in/a.wav")

    assert (alone.folder / "root" / BUCKET / "in/a.wav").read_bytes() == b"RIFF"
    assert BUCKET in service.said["bucket"]


def test_the_control_plane_opens_with_the_token_of_the_environment_only(alone: Playground) -> None:
    with serving(alone, lines=4, ORCHESTRATOR_CONTROL_TOKEN="open sesame") as service:
        plane = service.said["control"].split()[1]
        state = asked(plane + "state", "open sesame")
        with pytest.raises(urllib.error.HTTPError) as refused:
            asked(plane + "state", "guess")
        refused.value.close()

    assert state["jobs"] == {}
    assert refused.value.code == 403
    assert "open sesame" not in str(service.said), "secrets are not printed"


def test_https_is_served_with_a_certificate_whose_authority_is_named(alone: Playground) -> None:
    with serving(alone, "--tls", lines=4) as service:
        authority = alone.folder / service.said["authority"].split()[1].rstrip(",")
        trusting = ssl.create_default_context(cafile=authority)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(service.url, context=trusting)  # noqa: S310 - the service of this test

    assert service.url.startswith("https://127.0.0.1:")
    assert refused.value.code == 403
    refused.value.close()


def test_a_script_of_faults_is_played_from_the_start(alone: Playground) -> None:
    rules = "faults:\n  - {route: submit, do: refuse, code: SlowDown, times: 1}\n"
    (alone.folder / "faults.yaml").write_text(QUICK_WORK + rules)

    with serving(
        alone, "--faults", "faults.yaml", lines=6, ORCHESTRATOR_CONTROL_TOKEN="token"
    ) as service:
        alone.write("in/a.mp3", service={"ci": service.url, "cos": service.url})
        done = alone.run("--verbose")
        played = asked(service.said["control"].split()[1] + "state", "token")

    assert done.code == 0, done.err
    assert "SlowDown" in done.err
    assert sum(played["faults"].values()) == 1
    assert "faults.yaml" in service.said["faults"]


def test_callbacks_are_retried_if_asked_for(alone: Playground) -> None:
    called: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        """Fails the first request."""

        def do_POST(self) -> None:
            called.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(500 if len(called) == 1 else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    hooks = HTTPServer(("127.0.0.1", 0), Hook)
    thread = threading.Thread(target=hooks.serve_forever)
    thread.start()
    try:
        (alone.folder / "faults.yaml").write_text(QUICK_WORK)
        with serving(
            alone,
            "--faults",
            "faults.yaml",
            "--callback-retries",
            "2",
            "--callback-timeout",
            "5s",
            lines=4,
        ) as service:
            url = f"http://127.0.0.1:{hooks.server_port}/hook"
            alone.write(
                "in/a.mp3",
                service={"ci": service.url, "cos": service.url},
                callback={"url": url, "format": "JSON"},
            )
            assert alone.run().code == 0
            until(lambda: len(called) == 2, "the callback to be tried again")
    finally:
        hooks.shutdown()
        thread.join()
        hooks.server_close()

    assert called == ["/hook", "/hook"]


def test_a_key_pair_of_the_environment_is_not_printed_and_a_generated_one_is(
    alone: Playground,
) -> None:
    with serving(alone) as given:
        pass
    with serving(alone, TENCENTCLOUD_SECRET_ID=None, TENCENTCLOUD_SECRET_KEY=None) as made:
        stored = json.loads((alone.folder / "root/.service/credentials.json").read_bytes())

    assert KEYS.secret_key not in str(given.said)
    assert "TENCENTCLOUD_SECRET_KEY" in given.said["secret"]
    assert stored["secret_key"] in made.said["secret"]


@pytest.mark.parametrize(
    ("options", "hint"),
    [
        (("--root", "file"), "file is not a folder"),
        (("--root", "my rooot"), "does not exist. Check the name, or make the folder"),
        (("--root", "my rooot"), "mkdir -p 'my rooot'"),
        (("--root", "root", "--bucket", "Media"), "media-1250000000"),
        (("--root", "root", "--faults", "gone.yaml"), "gone.yaml"),
        (("--root", "root", "--callback-timeout", "soon"), "90s"),
        (("--root", "root", "--listen", "127.0.0.1:{taken}"), "in use. Choose another port"),
        (("--root", "root", "--tls-key", "key.pem"), "--tls-cert"),
        (("--root", "root", "--tls-cert", "file"), "must be PEM files"),
    ],
)
def test_startup_errors_are_one_line(
    alone: Playground, options: tuple[str, ...], hint: str
) -> None:
    (alone.folder / "file").touch()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        done = alone.do(
            "serve", *(option.format(taken=holder.getsockname()[1]) for option in options)
        )

    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert hint in done.err
    assert not (alone.folder / "my rooot").exists()
