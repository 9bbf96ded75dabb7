"""``--retry`` retries jobs that did not succeed, even while their run is still open.

Every report keeps one row per job.
"""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.server.pace import Pace, Progression
from orchestrator.server.settings import MissingInput
from tests.e2e.playground import Playground, RunningService

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Serve

pytestmark = pytest.mark.slow


def states(rows: list[dict[str, Any]]) -> dict[str, str]:
    assert len(rows) == len({row["key"] for row in rows}), "a job has two rows"
    return {row["input"]["object"]: row["state"] for row in rows}


@pytest.fixture
def strict(serve: Serve, tmp_path: Path) -> RunningService:
    """A service that refuses or fails jobs whose input is missing, and makes the others wait."""
    return serve(root=tmp_path / "strict", missing_input=MissingInput.FAIL)


def leave_open(there: Playground, service: RunningService) -> None:
    """Leave a run open in which one job has failed, and one is still at the service."""
    service.store("in/good.mp3")
    service.pace(Progression(Pace.SECONDS, finish_after=3))
    there.write("in/gone.mp3", "in/good.mp3")
    running = there.start("run", there.path.name)
    running.wait_for("failed     in/gone.mp3")
    running.send(signal.SIGINT)
    assert running.finish().code == 130


@pytest.mark.parametrize("part", [(), ("--limit", "2")])
def test_a_failed_job_of_an_open_run_is_retried_after_that_run_has_ended(
    tmp_path: Path, strict: RunningService, part: tuple[str, ...]
) -> None:
    there = Playground(tmp_path, strict)
    leave_open(there, strict)
    strict.pace(Progression(Pace.IMMEDIATE))
    strict.store("in/gone.mp3")
    before = Counter(job.input_object for job in strict.jobs())

    done = there.run("--retry", "failed", *part)

    assert done.code == 0, done.err
    assert "will be retried in a new run" in done.err
    after = Counter(job.input_object for job in strict.jobs())
    assert after - before == Counter(["in/gone.mp3"])
    first, second = there.reports()
    assert states(there.rows(0)) == {"in/gone.mp3": "failed", "in/good.mp3": "succeeded"}
    assert states(there.rows(1)) == {"in/gone.mp3": "succeeded"}
    for report, code in ((first, 1), (second, 0)):
        summary = json.loads(report.with_suffix(".summary.json").read_bytes())
        assert (summary["complete"], summary["exit_code"]) == (True, code)
    assert there.run().code == 0
    assert Counter(job.input_object for job in strict.jobs()) == after


def test_without_retry_the_open_run_is_only_finished(
    tmp_path: Path, strict: RunningService
) -> None:
    there = Playground(tmp_path, strict)
    leave_open(there, strict)
    strict.pace(Progression(Pace.IMMEDIATE))
    strict.store("in/gone.mp3")

    assert there.run().code == 1

    assert len(there.reports()) == 1
    assert states(there.rows()) == {"in/gone.mp3": "failed", "in/good.mp3": "succeeded"}


def test_a_list_on_standard_input_that_cannot_be_read_twice_is_reported(
    tmp_path: Path, strict: RunningService
) -> None:
    there = Playground(tmp_path, strict)
    leave_open(there, strict)
    strict.pace(Progression(Pace.IMMEDIATE))
    there.write({"list": "-", "format": "txt"})
    (tmp_path / "objects.txt").write_text("in/gone.mp3\nin/good.mp3\n")

    with (tmp_path / "objects.txt").open() as objects:
        done = there.run("--retry", "failed", stdin=objects)

    assert done.code == 1, done.err
    assert "1 finished job was not retried: standard input" in done.err
    assert len(there.reports()) == 1
