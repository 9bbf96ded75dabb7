"""A manifest whose jobs are in another ledger: said before the first job, with what to do."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.playground import Playground, RunningService


def warning(of: str, jobs: str) -> str:
    return f"{of}, has {jobs} that are new to this one as done or under way."


@pytest.mark.parametrize("way", ["renamed", "--ledger"])
def test_the_ledger_that_did_the_jobs_is_named_by_run_and_doctor(
    here: Playground, service: RunningService, way: str
) -> None:
    for name in ("a", "b"):
        service.store(f"in/{name}.mp3")
    here.write("in/a.mp3", "in/b.mp3")
    assert here.run().code == 0
    options = ["--ledger", "elsewhere.db"] if way == "--ledger" else []
    changes = {"name": "renamed"} if way == "renamed" else {}
    here.write("in/a.mp3", "in/b.mp3", "in/c.mp3", lookback=0, **changes)
    expected = warning(str(here.folder / ".orchestrator/album.db"), "2 of the first 3 jobs")

    checked = here.do("doctor" if options else "plan", here.path.name, *options)
    sent = here.run(*options)

    said = " ".join(checked.out.split())
    assert expected in said
    assert f"run with --ledger {here.folder}/.orchestrator/album.db." in said
    assert checked.code == 0, "a note stops nothing"
    assert sent.err.count(expected) == 1
    assert expected not in here.run(*options).err, "now it has them itself"


def test_ledgers_of_other_services_other_programs_and_other_jobs_say_nothing(
    here: Playground, service: RunningService
) -> None:
    service.store("in/a.mp3")
    service.store("in/z.mp3")
    here.write("in/z.mp3", name="others")
    assert here.run().code == 0
    foreign = here.folder / ".orchestrator" / "foreign.db"
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE notes (object_hash TEXT)")
    database.close()
    (here.folder / ".orchestrator" / "torn.db").write_bytes(b"SQLite format 3\0object_hash")
    here.write("in/a.mp3")

    checked = here.do("doctor", here.path.name)

    assert checked.code == 0, checked.out
    assert "nother ledger" not in checked.out
