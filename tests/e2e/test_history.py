"""The history of a manifest, and its rows in other formats, from the installed command."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet

from orchestrator.server.pace import Pace, Progression
from orchestrator.server.settings import MissingInput
from tests.e2e.playground import Playground

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.conftest import Serve
    from tests.e2e.playground import RunningService

pytestmark = pytest.mark.slow


@pytest.fixture
def strict(serve: Serve, tmp_path: Path) -> RunningService:
    """A service that fails jobs whose input is missing."""
    return serve(root=tmp_path / "strict", missing_input=MissingInput.FAIL)


def test_before_the_first_run_there_is_no_history(here: Playground) -> None:
    here.write("in/a.mp3")

    assert here.do("runs", here.path.name).out.startswith("There are no runs yet.")
    rows = here.do("report", here.path.name)
    assert rows.code == 2
    assert "There are no runs yet" in rows.err


def test_runs_and_their_rows_are_shown(tmp_path: Path, strict: RunningService) -> None:
    here = Playground(tmp_path, strict)
    strict.store("in/a.mp3")
    here.write("in/a.mp3", "in/gone.mp3")
    assert here.run().code == 1
    first = here.reports()[-1].stem
    strict.store("in/gone.mp3")
    assert here.run("--retry", "failed").code == 0

    history = json.loads(here.do("runs", here.path.name, "--json").out)
    assert [run["exit_code"] for run in history] == [0, 1]
    assert [run["jobs"]["succeeded"] for run in history] == [1, 1]
    assert history[1]["jobs"]["failed"] == 1
    table = here.do("runs", here.path.name, "--last", "1").out
    assert len(table.splitlines()) == 2
    assert history[0]["run"] in table

    last = list(
        csv.DictReader(io.StringIO(here.do("report", here.path.name, "--format", "csv").out))
    )
    assert [row["input_object"] for row in last] == ["in/gone.mp3"]
    earlier = here.do("report", here.path.name, "--run", first, "--state", "failed")
    assert "failed  in/gone.mp3  ResourceNotFound" in earlier.out
    assert "Check the names" in earlier.out
    name = here.folder / "all.parquet"
    assert here.do("report", here.path.name, "--run", "all", "-o", str(name)).code == 0
    assert sorted(parquet.read_table(name)["input_object"].to_pylist()) == [
        "in/a.mp3",
        "in/gone.mp3",
    ]
    here.reports()[0].unlink()
    partial = here.do("report", here.path.name, "--run", first, "--format", "jsonl")
    assert partial.code == 0
    assert "is gone" in partial.err


def test_the_id_of_a_run_is_never_cut(here: Playground) -> None:
    here.write("in/a.mp3", name="a-library-of-interviews-of-the-years-2019-to-2026")
    assert here.run().code == 0

    titles, line = here.do("runs", here.path.name, env={"COLUMNS": "60"}).out.splitlines()

    assert titles.split()[-1] == "exit"
    assert line.split()[0] == here.reports()[0].stem
    assert line.split()[-1] == "0"


@pytest.mark.parametrize("form", ["table", "jsonl", "csv", "md"])
def test_a_reader_that_has_seen_enough_ends_a_report_quietly(here: Playground, form: str) -> None:
    here.write("in/a.mp3")
    assert here.run().code == 0
    reading, writing = os.pipe()
    os.close(reading)

    done = here.do("report", here.path.name, "--format", form, stdout=writing)
    os.close(writing)

    assert (done.code, done.err) == (0, "")


def test_a_run_that_was_stopped_is_open_in_the_history(
    tmp_path: Path, strict: RunningService
) -> None:
    here = Playground(tmp_path, strict)
    strict.store("in/good.mp3")
    strict.pace(Progression(Pace.SECONDS, finish_after=3))
    here.write("in/gone.mp3", "in/good.mp3")
    running = here.start("run", here.path.name)
    running.wait_for("failed     in/gone.mp3")
    running.send(signal.SIGINT)
    assert running.finish().code == 130

    (run,) = json.loads(here.do("runs", here.path.name, "--json").out)
    assert (run["state"], run["exit_code"], run["visits"]) == ("open", 130, 1)
    assert run["stopped_by"] == "signal"
    assert here.run().code == 1
    (run,) = json.loads(here.do("runs", here.path.name, "--json").out)
    assert (run["state"], run["exit_code"], run["visits"]) == ("ended", 1, 2)
    assert run["calls"]["submits"] == 2, "the calls of both visits add up"
