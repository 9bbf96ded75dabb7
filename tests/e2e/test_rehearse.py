"""Rehearsals and callbacks.

A rehearsal costs nothing, touches nothing, and reports the effects of its script of faults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from tests.e2e.playground import BUCKET

if TYPE_CHECKING:
    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow

SCRIPT = """
seed: 7
max_concurrent: 20
progression: {pace: seconds, finish_after: 0.2, media_s: 120}
callbacks: {lose: 0.1, double: 0.2}
faults:
  - {route: submit, do: refuse, code: SlowDown, times: 2}
  - {route: submit, do: lose_answer, times: 3}
  - {route: query, do: drop, times: 1}
"""


def test_a_rehearsal_plays_its_script_and_finds_no_duplicates_or_losses(here: Playground) -> None:
    here.write(*(f"in/{number}.mp3" for number in range(20)), service="tencent")
    (here.folder / "faults.yaml").write_text(SCRIPT)

    done = here.run("--rehearse", str(here.folder / "faults.yaml"), "--json")

    assert done.code == 0, done.err
    verdict = done.json()
    assert verdict["is_good"]
    assert verdict["jobs"] == verdict["states"]["succeeded"] == 20
    assert 0 <= verdict["job_p50_s"] <= verdict["job_p95_s"], "the service reports whole seconds"
    assert verdict["duplicates"] == verdict["losses"] == 0
    assert verdict["faults_played"] == 6
    assert not (here.folder / ".orchestrator" / "album.db").exists(), (
        "the real ledger is not touched"
    )


def test_a_rehearsal_of_a_local_manifest_refuses_a_mistyped_output_bucket(
    here: Playground,
) -> None:
    (here.folder / "media" / BUCKET / "in").mkdir(parents=True)
    (here.folder / "media" / BUCKET / "in/a.wav").write_bytes(b"RIFF")
    (here.folder / "faults.yaml").write_text("progression: {pace: immediate}\n")
    local = {"local": {"root": "media"}}
    here.write("in/a.wav", service=local)
    right = here.run("--rehearse", "faults.yaml")
    content = yaml.safe_load(here.path.read_text())
    content["defaults"]["output"]["bucket"] = "mdeia-1250000000"
    here.path.write_text(yaml.safe_dump(content))

    wrong = here.run("--rehearse", "faults.yaml")

    assert right.code == 0, right.err
    assert wrong.code != 0
    assert "mdeia-1250000000" in wrong.err
    assert not list(here.folder.rglob("mdeia-1250000000"))


def test_a_rehearsal_that_was_stopped_is_not_good(here: Playground) -> None:
    here.write(*(f"in/{number}.mp3" for number in range(3)), service="tencent")
    (here.folder / "faults.yaml").write_text(
        "progression: {pace: seconds, finish_after: 0.2}\n"
        "faults: [{route: submit, do: refuse, code: AccessDenied}]\n"
    )

    done = here.run("--rehearse", str(here.folder / "faults.yaml"))
    as_json = here.run("--rehearse", str(here.folder / "faults.yaml"), "--json", "--quiet")

    assert done.code == as_json.code == 3
    assert "rehearsal: NOT COMPLETE" in done.out
    assert "AccessDenied" in done.out
    assert "good" not in done.out
    verdict = as_json.json()
    assert not verdict["is_good"]
    assert not verdict["is_complete"]
    assert verdict["job_p50_s"] is None
    assert verdict["states"]["planned"] == 3


def test_a_rehearsal_gives_up_waiting_when_the_real_run_would(here: Playground) -> None:
    here.write("in/a.mp3", service="tencent", limits={"timeout_s": 1})
    (here.folder / "faults.yaml").write_text(
        "progression: {pace: seconds, finish_after: 0.2}\n"
        "faults: [{route: submit, do: delay_answer, delay_s: 4, times: 1}]\n"
    )

    done = here.run("--rehearse", str(here.folder / "faults.yaml"))

    assert done.code == 0, done.err
    assert "in doubt   in/a.mp3" in done.err
    assert "adopted    in/a.mp3" in done.err


def test_a_mistake_in_the_script_is_reported_before_anything_is_done(here: Playground) -> None:
    here.write("in/a.mp3", service="tencent")
    (here.folder / "faults.yaml").write_text("faults: [{route: submitt, do: refuse}]")

    done = here.run("--rehearse", str(here.folder / "faults.yaml"))

    assert done.code == 2
    assert "submit" in done.err


def test_a_run_that_listens_for_callbacks_receives_them(
    here: Playground, service: RunningService
) -> None:
    here.write(*(f"in/{number}.mp3" for number in range(12)))

    done = here.run("--callback-listen", "127.0.0.1:0")

    assert done.code == 0, done.err
    assert service.state()["callbacks"]["delivered"] == 12
    assert {row["state"] for row in here.rows()} == {"succeeded"}


def test_an_invalid_callback_address_is_refused(here: Playground) -> None:
    here.write("in/a.mp3")

    alone = here.run("--callback-url", "https://hooks.example.com")
    wrong = here.run("--callback-listen", "here")

    assert (alone.code, wrong.code) == (2, 2)
    assert "--callback-listen" in alone.err
    assert "HOST:PORT" in wrong.err
