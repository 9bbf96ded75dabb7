"""Guarantees of ``orchestrator run``: every job is done once, and reported once."""

from __future__ import annotations

import gzip
import json
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from orchestrator.server.pace import Pace, Progression
from orchestrator.server.settings import MissingInput
from tests.e2e.playground import BUCKET, Playground

if TYPE_CHECKING:
    from tests.e2e.conftest import Serve
    from tests.e2e.playground import RunningService

pytestmark = pytest.mark.slow


def test_every_object_becomes_one_job_and_one_row_that_matches_the_schema(
    here: Playground, service: RunningService
) -> None:
    here.write(*(f"in/{number}.mp3" for number in range(12)))

    done = here.run()

    assert done.code == 0, done.err
    rows = here.rows()
    assert Counter(row["input"]["object"] for row in rows) == Counter(
        f"in/{number}.mp3" for number in range(12)
    )
    assert Counter(service.keys()) == Counter(row["key"] for row in rows)
    schema = here.do("schema", "report").json()
    for row in rows:
        jsonschema.validate(row, schema, format_checker=jsonschema.FormatChecker())
        assert (row["state"], row["attempts"], row["adopted"], row["code"]) == (
            "succeeded",
            1,
            False,
            "",
        )
        assert {file["stem"]: file["verified"] for file in row["files"]} == {
            "voice": True,
            "background": True,
        }
        for file in row["files"]:
            assert (service.settings.root / BUCKET / file["object"]).stat().st_size == file[
                "size_bytes"
            ]


def test_a_second_run_sends_nothing_and_has_rows_of_skipped_jobs_only_on_request(
    here: Playground, service: RunningService
) -> None:
    here.write("in/a.mp3", "in/b.mp3")
    assert here.run().code == 0
    before = service.state()["requests"]

    again = here.run()

    assert again.code == 0
    assert here.rows() == []
    assert here.summary()["jobs"]["skipped"] == 2
    here.write("in/a.mp3", "in/b.mp3", report={"path": "reports/{run}.jsonl", "rows": "all"})
    assert here.run().code == 0
    assert [row["state"] for row in here.rows()] == ["skipped", "skipped"]
    assert len(here.reports()) == 3
    assert here.summary()["jobs"]["skipped"] == 2
    assert service.state()["requests"] == before


def test_a_compressed_report_and_the_latest_two_are_kept(here: Playground) -> None:
    report = {"path": "reports/{run}.jsonl.gz", "rows": "all", "keep": 2}
    here.write("in/a.mp3", report=report)
    foreign = here.folder / "reports" / "notes.jsonl.gz"
    for _ in range(4):
        assert here.run().code == 0
        foreign.touch()

    left = sorted(here.folder.glob("reports/*"))

    kept = [path for path in left if path.name.endswith(".jsonl.gz") and path != foreign]
    assert len(kept) == 2
    assert [path for path in left if path not in kept] == [
        *(Path(str(path).replace(".jsonl.gz", ".summary.json")) for path in kept),
        foreign,
    ]
    assert json.loads(gzip.decompress(kept[-1].read_bytes()))["state"] == "skipped"
    summary = json.loads(Path(str(kept[-1]).replace(".jsonl.gz", ".summary.json")).read_bytes())
    assert summary["report"] == str(kept[-1])


def test_reordering_and_extending_a_manifest_sends_only_new_jobs(
    here: Playground, service: RunningService
) -> None:
    here.write("in/a.mp3", "in/b.mp3")
    assert here.run().code == 0
    here.write("in/c.mp3", "in/b.mp3", "in/a.mp3")

    assert here.run().code == 0

    assert [job.input_object for job in service.jobs()][2:] == ["in/c.mp3"]
    assert {row["input"]["object"]: row["state"] for row in here.rows()} == {
        "in/c.mp3": "succeeded"
    }


def test_jobs_of_a_higher_level_are_accepted_first(
    here: Playground, service: RunningService
) -> None:
    inputs = [{"object": f"in/{number}.mp3", "level": number % 3} for number in range(9)]
    here.write(*inputs, limits={"submit_per_s": 50, "query_per_s": 100, "connections": 1})

    assert here.run().code == 0

    assert [job.level for job in service.jobs()] == [2, 2, 2, 1, 1, 1, 0, 0, 0]


def test_a_failed_job_is_retried_only_on_request(
    here: Playground, serve: Serve, service: RunningService
) -> None:
    strict = serve(root=here.folder / "strict", missing_input=MissingInput.FAIL)
    strict.store("in/good.mp3")
    there = Playground(here.folder, strict)
    there.write("in/good.mp3", "in/gone.mp3")

    first = there.run()
    assert first.code == 1
    assert {row["input"]["object"]: row["state"] for row in there.rows()} == {
        "in/good.mp3": "succeeded",
        "in/gone.mp3": "failed",
    }
    row = next(row for row in there.rows() if row["state"] == "failed")
    assert row["code"] == "ResourceNotFound"
    assert "in/gone.mp3" in row["message"]
    assert "in/gone.mp3" in first.err

    second = there.run()
    assert second.code == 1, "a job that failed before is a failure of this run too"
    assert len(strict.jobs()) == 2

    strict.store("in/gone.mp3")
    third = there.run("--retry", "failed")
    assert third.code == 0, third.err
    assert [job.input_object for job in strict.jobs()].count("in/gone.mp3") == 2
    assert {row["input"]["object"]: row["state"] for row in there.rows()} == {
        "in/gone.mp3": "succeeded",
    }


def test_a_deleted_stem_is_made_again_only_with_verify_done(
    here: Playground, service: RunningService
) -> None:
    here.write("in/a.mp3", "in/b.mp3")
    assert here.run().code == 0
    voice = service.settings.root / BUCKET / "stems/a/voice.mp3"
    voice.unlink()

    assert here.run().code == 0
    assert len(service.jobs()) == 2

    assert here.run("--verify-done").code == 0
    assert [job.input_object for job in service.jobs()][2:] == ["in/a.mp3"]
    assert voice.exists()
    assert {row["input"]["object"]: row["state"] for row in here.rows()} == {
        "in/a.mp3": "succeeded",
    }


def test_a_prefix_is_listed_from_the_bucket_when_the_run_begins(
    here: Playground, service: RunningService
) -> None:
    for name in ("a.mp3", "b.wav", "draft/c.mp3", "notes.txt"):
        service.store(f"incoming/{name}")
    here.write({"prefix": "incoming/", "include": ["*.mp3", "*.wav"], "exclude": ["*/draft/*"]})

    assert here.run().code == 0

    rows = here.rows()
    assert {row["input"]["object"] for row in rows} == {"incoming/a.mp3", "incoming/b.wav"}
    assert all(row["input"]["etag"] for row in rows)


def test_lost_answers_and_refusals_neither_charge_twice_nor_lose_a_job(
    here: Playground, service: RunningService
) -> None:
    service.spoil(
        {"route": "submit", "do": "lose_answer", "times": 3},
        {"route": "submit", "do": "fail_after", "code": "InternalError", "skip": 3, "times": 2},
        {"route": "submit", "do": "refuse", "code": "SlowDown", "skip": 5, "times": 2},
        {"route": "submit", "do": "drop", "skip": 7, "times": 1},
        {"route": "submit", "do": "truncate", "skip": 8, "times": 1},
        {"route": "query", "do": "drop", "times": 1},
        {"route": "head", "do": "refuse", "code": "InternalError", "times": 1},
    )
    here.write(*(f"in/{number}.mp3" for number in range(15)))

    done = here.run()

    assert done.code == 0, done.err
    keys = Counter(service.keys())
    assert len(keys) == 15
    assert set(keys.values()) == {1}
    assert Counter(row["key"] for row in here.rows()) == keys
    assert sum(row["adopted"] for row in here.rows()) == 6, (
        "lost, failed after and truncated answers are adopted"
    )
    assert service.state()["duplicates"] == 0


def test_a_permanent_refusal_is_rejected_without_another_try(
    here: Playground, service: RunningService
) -> None:
    service.spoil({"route": "submit", "do": "refuse", "code": "InvalidArgument", "times": 1})
    here.write("in/a.mp3", limits={"connections": 1})

    done = here.run()

    assert done.code == 1
    (row,) = here.rows()
    assert (row["state"], row["code"], row["attempts"], row["job_id"]) == (
        "rejected",
        "InvalidArgument",
        1,
        "",
    )
    assert service.state()["requests"]["submit"] == 1


def test_status_shows_the_progress_of_a_run_in_another_process(
    here: Playground, service: RunningService
) -> None:
    service.pace(Progression(Pace.HOLD))
    here.write("in/a.mp3", "in/b.mp3")
    assert (
        "There are no runs yet. Start one with: orchestrator run album.yaml"
        in here.do("status", here.path.name).out
    )
    running = here.start("run", here.path.name, "--verbose")
    running.wait_for("submitted  in/")
    running.wait_for("submitted  in/")

    during = here.do("status", here.path.name, "--json").json()

    assert during["open"] is True
    assert during["holder"]["pid"] == running.process.pid
    assert during["jobs"]["submitted"] == 2
    running.send(signal.SIGINT)
    assert running.finish().code == 130
    after = here.do("status", here.path.name).out
    assert "open, not running" in after
    assert "submitted          2" in after


def test_cancel_ends_jobs_that_the_service_has_not_begun(
    here: Playground, service: RunningService
) -> None:
    service.pace(Progression(Pace.HOLD))
    here.write("in/a.mp3", "in/b.mp3", "in/c.mp3", limits={"in_flight": 2})
    assert here.run("--deadline", "1.5s").code == 6

    cancelled = here.do("cancel", here.path.name, "--json")

    assert cancelled.code == 0
    assert cancelled.json() == {"unsent": 1, "remote": 2, "kept": 0}
    assert here.do("status", here.path.name, "--json").json()["jobs"]["cancelled"] == 3
    assert {job.state.value for job in service.jobs()} == {"Cancel"}
    assert here.run().code == 1
    assert Counter(row["state"] for row in here.rows()) == {"cancelled": 3}


def test_the_summary_beside_the_report_equals_the_json_output(here: Playground) -> None:
    here.write("in/a.mp3")

    shown = here.run("--json").json()

    assert shown == here.summary()
    assert shown["complete"] is True
    assert shown["exit_code"] == 0
    assert shown["jobs"]["succeeded"] == 1
    assert shown["calls"]["submits"] == 1
    assert json.loads(here.reports()[0].read_text())["run"] == shown["run"]


def test_a_plan_sends_nothing_and_shows_the_effect_of_a_run(
    here: Playground, service: RunningService
) -> None:
    here.write("in/a.mp3", "in/b.mp3")
    before = here.do("plan", here.path.name, "--json")
    assert before.code == 0, before.err
    assert before.json()["jobs"]["new"] == 2
    assert service.state()["requests"].get("submit", 0) == 0
    assert here.run("--quiet").code == 0
    (service.settings.root / BUCKET / "stems/a/voice.mp3").unlink()

    assert here.run("--dry-run", "--json").json()["jobs"]["done"] == 2
    verified = here.do("plan", here.path.name, "--verify-done", "--json").json()

    assert verified["jobs"]["done"] == 1
    assert verified["jobs"]["lost"] == 1
    assert service.state()["requests"]["submit"] == 2
