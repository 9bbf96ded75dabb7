"""Every exit code, in the situation that causes it: one helpful line, never a traceback."""

from __future__ import annotations

import http.server
import os
import re
import resource
import shutil
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trustme

from orchestrator.errors import DiskFull
from orchestrator.server.http.key_pairs import Grant, KeyPair
from orchestrator.server.pace import Pace, Progression
from orchestrator.server.settings import LocalSettings
from tests.e2e.playground import KEYS, Finished, Playground, RunningService

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.conftest import Serve

pytestmark = pytest.mark.slow


def error_line(finished: Finished) -> str:
    """Return the error message: the last line; a refused command prints nothing else."""
    lines = finished.err.splitlines()
    assert lines, "nothing was printed"
    assert lines[-1].startswith("orchestrator: "), finished.err
    return lines[-1]


# --- 2: usage, manifest, configuration


def test_2_a_faulty_manifest_is_refused_with_every_fault_and_its_place(here: Playground) -> None:
    here.write({"object": "a.mp3", "levle": 1}, {"object": "b.mp3", "level": 7})

    done = here.run()

    assert done.code == 2
    assert done.out == ""
    assert re.search(r"album\.yaml:\d+:\d+: .*levle.*level", done.err), done.err
    assert re.search(r"album\.yaml:\d+:\d+: .*7", done.err), done.err


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("run", "gone.yaml"), "gone.yaml"),
        (("run", "album.yaml", "--set", "novalue"), "name=value"),
        (("run", "album.yaml", "--service", "tencnet"), "local or tencent"),
        (("run", "album.yaml", "--retry", "everything"), "failed, rejected or all"),
        (("run", "album.yaml", "--deadline", "soon"), "2h"),
        (("run", "album.yaml", "--max-failures", "some"), "5%"),
        (("run", "album.yaml", "--no-such-option"), "--no-such-option"),
        (("schema", "jobs"), "manifest or report"),
        (("serve", "--root", "x", "--listen", "here"), "HOST:PORT"),
    ],
)
def test_2_wrong_usage_is_refused_with_a_hint(
    here: Playground, arguments: tuple[str, ...], hint: str
) -> None:
    here.write("in/a.mp3")

    done = here.do(*arguments)

    assert done.code == 2
    assert done.out == ""
    assert hint in done.err


def test_2_a_machine_without_the_engine_is_reported_before_the_first_job(here: Playground) -> None:
    here.write("in/a.mp3", service="local")

    done = here.run()

    assert done.code == 2
    assert "orchestrator fetch-engine" in error_line(done)
    assert "starting" not in done.err
    assert here.reports() == []


def test_4_a_local_root_without_space_is_reported_before_the_first_job(
    here: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(here.folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    settings = LocalSettings(here.folder / "media", credentials=(KEYS,))

    with pytest.raises(DiskFull, match="Make room"), RunningService(settings):
        pass


def test_2_a_ledger_of_another_service_is_refused(here: Playground) -> None:
    here.write("in/a.mp3")
    assert here.run("-q").code == 0

    done = here.do("plan", here.path.name, "--service", "local")

    assert done.code == 2
    assert "--ledger" in error_line(done)


# --- 3: credentials


def test_3_missing_credentials_are_reported_with_the_variables_to_set(here: Playground) -> None:
    here.write("in/a.mp3")

    done = here.run(env={"TENCENTCLOUD_SECRET_ID": None, "TENCENTCLOUD_SECRET_KEY": None})

    assert done.code == 3
    assert "TENCENTCLOUD_SECRET_ID" in error_line(done)


def test_3_a_wrong_key_stops_the_run_at_once_without_failing_its_jobs(
    here: Playground, service: RunningService
) -> None:
    here.write(
        *(f"in/{number}.mp3" for number in range(30)),
        limits={"connections": 2, "submit_per_s": 100},
    )

    refused = here.run(env={"TENCENTCLOUD_SECRET_KEY": "wrongSecretKeyExample0123456789"})

    assert refused.code == 3
    assert "wrongSecret" not in refused.err + refused.out
    assert "TENCENTCLOUD_SECRET_KEY" in error_line(refused)
    assert service.state()["requests"].get("submit", 0) < 30
    assert here.summary()["jobs"]["planned"] == 30
    assert here.run().code == 0
    assert len(service.jobs()) == 30


def test_3_a_key_without_the_permission_is_refused(here: Playground, serve: Serve) -> None:
    reader = KeyPair(KEYS.secret_id, KEYS.secret_key, grants=(Grant("*", write=False),))
    there = Playground(here.folder, serve(root=here.folder / "other", credentials=(reader,)))
    there.write("in/a.mp3")

    done = there.run()

    assert done.code == 3
    assert "AccessDenied" in error_line(done)


def test_3_an_unknown_certificate_authority_is_named_at_once_with_the_variable(
    here: Playground, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with refusing_server(context) as port:
        url = f"https://localhost:{port}"
        here.write("in/a.mp3", service={"ci": url, "cos": url})

        unknown = here.run()
        known = here.run(env={"SSL_CERT_FILE": str(tmp_path / "ca.pem")})

    assert unknown.code == known.code == 3
    assert "SSL_CERT_FILE" in error_line(unknown)
    assert "AccessDenied" in error_line(known)


def test_3_a_proxy_that_asks_for_a_password_ends_the_run(here: Playground) -> None:
    with refusing_server(None, 407) as port:
        proxy = f"http://user:wrong-password@127.0.0.1:{port}"
        here.write("in/a.mp3", service="tencent")

        done = here.run(env={"HTTPS_PROXY": proxy})

    assert done.code == 3
    assert "HTTPS_PROXY" in error_line(done)
    assert "wrong-password" not in done.out + done.err
    assert here.summary()["jobs"]["planned"] == 1


@contextmanager
def refusing_server(context: ssl.SSLContext | None, status: int = 403) -> Iterator[int]:
    """Serve on loopback, over TLS if a context is given, and refuse every request."""

    class Refuse(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
            body = body if status == 403 else b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("x-ci-request-id", "r")
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET = do_CONNECT = answer  # noqa: N815 - names of the library

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass

    with Quiet(("127.0.0.1", 0), Refuse) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


# --- 4: ledger and disk


def test_4_a_file_that_is_not_a_ledger_is_left_alone(here: Playground) -> None:
    here.write("in/a.mp3")
    diary = here.folder / "diary.txt"
    diary.write_text("Dear diary, today I wrote a manifest.\n")

    done = here.run("--ledger", str(diary))

    assert done.code == 4
    assert "diary.txt" in error_line(done)
    assert diary.read_text().startswith("Dear diary")


def test_4_a_report_path_that_holds_something_else_is_left_alone(here: Playground) -> None:
    here.write("in/a.mp3")
    diary = here.folder / "diary.txt"
    diary.write_text("Dear diary, today I wrote a manifest.\n")

    done = here.run("--report", str(diary))

    assert done.code == 4
    assert "diary.txt" in error_line(done)
    assert diary.read_text().startswith("Dear diary")


def test_4_a_damaged_ledger_is_reported(here: Playground) -> None:
    here.write(*(f"in/{number}.mp3" for number in range(40)))
    assert here.run("-q").code == 0
    ledger = here.folder / ".orchestrator" / "album.db"
    content = ledger.read_bytes()
    ledger.write_bytes(content[:4096] + os.urandom(len(content) - 4096))

    done = here.run()

    assert done.code == 4
    assert "album.db" in error_line(done)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Folder on a disk of half a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    made = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)],
        check=False,
        capture_output=True,
    )
    if made.returncode:
        pytest.skip(f"cannot mount a disk here: {made.stderr.decode()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_no_reason_for_another_name(here: Playground, small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(b"0" * (512 << 10))

    draft = here.do("init", "cos://media-1250000000/in/", "-o", str(small_disk / "x.yaml"))

    assert draft.code == 2
    assert draft.err.endswith("No space left on device. Make room, then try again.\n")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]
    (small_disk / "ballast").unlink()
    assert here.do("init", "cos://media-1250000000/in/", "-o", str(small_disk / "x.yaml")).code == 0


def test_4_a_full_disk_loses_nothing_and_the_run_resumes_once_there_is_room(
    here: Playground, service: RunningService, small_disk: Path
) -> None:
    objects = [
        f"in/a-rather-long-name-that-fills-the-disk-sooner/{number:05}.mp3"
        for number in range(1500)
    ]
    here.write(*objects)
    ballast = small_disk / "ballast"

    full = here.run("--ledger", str(small_disk / "album.db"))

    assert full.code == 4, full.err[-2000:]
    assert "o space left" in error_line(full)
    sent = len(service.jobs())
    shutil.copy(small_disk / "album.db", here.folder / "moved.db")
    assert not ballast.exists()
    for extra in ("-wal", "-shm"):
        if (small_disk / f"album.db{extra}").exists():
            shutil.copy(small_disk / f"album.db{extra}", here.folder / f"moved.db{extra}")
    again = here.run("--ledger", str(here.folder / "moved.db"), "-q", limit_s=120)
    assert again.code == 0, again.err
    assert sent < 1500
    assert len(service.keys()) == len(set(service.keys())) == 1500


def test_4_a_ledger_that_cannot_grow_ends_the_run_with_one_line(
    here: Playground, service: RunningService
) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    here.write(
        *(
            f"in/a-rather-long-name-that-fills-the-disk-sooner/{number:05}.mp3"
            for number in range(1500)
        )
    )

    done = here.run(preexec_fn=limit)

    assert done.code == 4, done.err[-2000:]
    assert "album.db" in error_line(done)


# --- 5: another run


def test_5_a_second_run_ends_and_names_the_holder_of_the_ledger(
    here: Playground, service: RunningService
) -> None:
    service.pace(Progression(Pace.HOLD))
    here.write("in/a.mp3")
    first = here.start("run", here.path.name, "--verbose")
    first.wait_for("submitted  in/a.mp3")

    second = here.run()

    assert second.code == 5
    assert f"Process {first.process.pid} on " in error_line(second)
    first.kill()
    service.pace(Progression(Pace.IMMEDIATE))
    third = here.run()
    assert third.code == 0, "the lease of a dead holder is taken over"
    assert len(service.jobs()) == 1


def test_2_a_list_that_cannot_be_read_further_leaves_the_run_incomplete(
    here: Playground,
) -> None:
    (here.folder / "objects.csv").write_text('object\nin/a.mp3\n"in/b.mp3\nin/c.mp3\n')
    here.write({"list": "objects.csv"})

    done = here.run("--json")

    assert done.code == 2
    assert "objects.csv:3" in done.err
    assert (done.json()["complete"], here.summary()["complete"]) == (False, False)


def test_4_a_report_that_another_run_is_writing_is_left_alone(
    here: Playground, service: RunningService
) -> None:
    """Otherwise two manifests that name one report would cut off each other's rows."""
    service.pace(Progression(Pace.HOLD))
    here.write("in/a.mp3", report="one.jsonl")
    running = here.start("run", here.path.name, "--verbose")
    running.wait_for("submitted  in/")

    refused = here.run("--ledger", "second.db")

    assert refused.code == 4
    assert "Another run is writing" in error_line(refused)
    service.pace(Progression(Pace.IMMEDIATE))
    assert running.finish().code == 0
    assert len((here.folder / "one.jsonl").read_text().splitlines()) == 1
    assert here.run("--ledger", "second.db").code == 0, "the report is free again"


@pytest.mark.parametrize("option", ["--ledger", "--report"])
def test_2_an_empty_file_name_does_not_mean_the_default_file(here: Playground, option: str) -> None:
    here.write("in/a.mp3")

    done = here.run(option, "")

    assert done.code == 2
    assert f"{option}: the value is empty" in done.err
    assert not (here.folder / ".orchestrator").exists()


def test_2_a_closed_standard_input_is_not_read_as_an_empty_list(
    here: Playground,
) -> None:
    """Otherwise the jobs that it named before would count as removed, and be cancelled."""
    here.write({"list": "-", "format": "txt"})

    done = here.run(prefix=["bash", "-c", '"$@" <&-', "sh"])

    assert done.code == 2
    assert "standard input: Reading failed" in error_line(done)
    assert here.summary()["complete"] is False


def test_a_ledger_or_report_that_is_not_a_file_is_refused_before_anything_is_sent(
    here: Playground, service: RunningService
) -> None:
    os.mkfifo(here.folder / "pipe")
    here.write("in/a.mp3")

    for option, name, code in (
        ("--ledger", "pipe", 2),
        ("--ledger", "/dev/null", 2),
        ("--report", "pipe", 4),
        ("--report", "/dev/null", 4),
    ):
        done = here.run(option, name)
        assert done.code == code, (option, name)
        assert "a pipe" in done.err
    assert service.jobs() == []


# --- 6: budgets and deadlines


def test_6_a_deadline_leaves_the_jobs_where_they_are_and_the_next_run_resumes(
    here: Playground, service: RunningService
) -> None:
    service.pace(Progression(Pace.HOLD))
    here.write("in/a.mp3", "in/b.mp3", limits={"in_flight": 1})

    stopped = here.run("--deadline", "1s")

    assert stopped.code == 6
    assert "deadline" in error_line(stopped)
    assert here.summary()["complete"] is False
    assert here.summary()["stopped_by"] == "deadline"
    service.pace(Progression(Pace.IMMEDIATE))
    assert here.run().code == 0
    assert here.summary()["stopped_by"] == ""
    assert len(service.jobs()) == 2
    assert len(here.reports()) == 1, "it is the same run, with the same report"
    assert len(here.rows()) == 2


def test_6_too_many_failures_stop_submission(here: Playground, service: RunningService) -> None:
    service.spoil({"route": "submit", "do": "refuse", "code": "InvalidArgument"})
    here.write(
        *(f"in/{number}.mp3" for number in range(30)), limits={"connections": 1, "submit_per_s": 50}
    )

    done = here.run("--max-failures", "3")

    assert done.code == 6
    assert "max_failures 3" in error_line(done)
    assert here.summary()["stopped_by"] == "budget"
    jobs = here.summary()["jobs"]
    assert 4 <= jobs["rejected"] < 30
    assert jobs["rejected"] + jobs["planned"] == 30


def test_6_the_cost_is_reserved_before_a_job_is_sent(
    here: Playground, service: RunningService
) -> None:
    """Two stems of four assumed minutes at 0.012 cost 0.096 per job, so ten are allowed."""
    here.write(*(f"in/{number}.mp3" for number in range(30)))
    service.pace(Progression(Pace.HOLD))

    done = here.run("--max-cost", "1")

    assert done.code == 6
    assert "max_cost 1" in error_line(done)
    assert len(service.jobs()) == 10


# --- 6 and 7: a service that does not answer


def test_6_a_service_that_is_down_is_probed_until_the_deadline(
    here: Playground,
) -> None:
    with socket.socket() as unanswered:
        unanswered.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unanswered.getsockname()[1]}"
        here.write("in/a.mp3", "in/b.mp3", service={"ci": url, "cos": url})

        done = here.run("--deadline", "4s")

    assert done.code == 6
    assert "Waiting for the list of jobs of" in done.err
    assert f"(GET {url}/jobs: no connection, nothing was sent (Connection refused))" in done.err
    assert here.summary()["jobs"]["planned"] == 2
    assert here.summary()["calls"]["submits"] == 0
    assert here.summary()["calls"]["lists"] <= 20, "the service is not flooded"


def test_6_a_host_that_does_not_exist_is_named(here: Playground) -> None:
    url = "http://no-such-host.invalid:8080"
    here.write("in/a.mp3", service={"ci": url, "cos": url})

    done = here.run("--deadline", "4s")

    assert done.code == 6
    assert "no-such-host.invalid" in done.err


def test_7_a_bucket_that_cannot_be_listed_leaves_a_run_that_can_be_resumed(
    here: Playground, service: RunningService
) -> None:
    service.spoil({"route": "list_objects", "do": "refuse", "code": "InvalidArgument", "times": 1})
    service.store("in/a.mp3")
    here.write({"prefix": "in/"})

    done = here.run()

    assert done.code == 7, done.err
    assert here.run().code == 0


def test_7_a_job_that_cannot_be_looked_up_stays_in_doubt(
    here: Playground, service: RunningService
) -> None:
    service.spoil(
        {"route": "submit", "do": "lose_answer", "times": 1},
        {"route": "list", "do": "refuse", "code": "InvalidArgument"},
    )
    here.write("in/a.mp3", "in/b.mp3", limits={"connections": 1})

    done = here.run()

    assert done.code == 7
    assert "in doubt and unsent: the service does not show its list of jobs" in done.err
    assert "in doubt" in done.out
    assert service.state()["requests"]["submit"] == 2, "a job in doubt is not resent unseen"
    service.spoil()
    assert here.run().code == 0
    assert len(service.jobs()) == 2
    assert sorted(row["adopted"] for row in here.rows()) == [False, True]


def test_2_a_report_on_standard_output_is_refused(
    here: Playground, service: RunningService
) -> None:
    here.write("in/a.mp3")

    done = here.run("--report", "-")

    assert done.code == 2
    assert "--report run.jsonl" in error_line(done)
    assert service.jobs() == []
