"""A ledger that is lost, restored or copied costs calls, not money: the service is asked first."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow

OBJECTS = [f"in/{number}.mp3" for number in range(6)]


def ledger_files(here: Playground) -> list[Path]:
    return sorted((here.folder / ".orchestrator").glob("album.db*"))


def paid(service: RunningService) -> Counter[str]:
    return Counter(job.input_object for job in service.jobs())


def test_a_deleted_ledger_is_filled_from_the_service(
    here: Playground, service: RunningService
) -> None:
    here.write(*OBJECTS)
    assert here.run().code == 0
    for path in ledger_files(here):
        path.unlink()

    again = here.run()

    assert again.code == 0, again.err
    assert paid(service) == Counter(OBJECTS)
    assert {row["adopted"] for row in here.rows()} == {True}
    assert {row["state"] for row in here.rows()} == {"succeeded"}
    assert all(file["verified"] for row in here.rows() for file in row["files"])


def test_a_restored_ledger_adopts_what_was_done_since(
    here: Playground, service: RunningService
) -> None:
    here.write(*OBJECTS[:3])
    assert here.run().code == 0
    backup = here.folder / "backup"
    shutil.copytree(here.folder / ".orchestrator", backup)
    here.write(*OBJECTS)
    assert here.run().code == 0
    shutil.rmtree(here.folder / ".orchestrator")
    shutil.copytree(backup, here.folder / ".orchestrator")

    again = here.run()

    assert again.code == 0, again.err
    assert paid(service) == Counter(OBJECTS)


def test_a_renamed_manifest_adopts_the_jobs_of_its_old_name(
    here: Playground, service: RunningService
) -> None:
    here.write(*OBJECTS, name="first")
    assert here.run().code == 0
    here.write(*OBJECTS, name="second")

    assert here.run().code == 0
    assert paid(service) == Counter(OBJECTS)


def make_older(service: RunningService, by_s: float) -> None:
    """Let all jobs of the service have been accepted earlier."""
    queue = sqlite3.connect(service.settings.root / ".service" / "queue.db")
    with contextlib.closing(queue), queue:
        queue.execute("UPDATE jobs SET created_at = created_at - ?", (by_s,))


def test_a_line_that_was_missing_after_the_ledger_was_lost_is_not_paid_again(
    here: Playground, service: RunningService
) -> None:
    here.write(*OBJECTS[:4])
    assert here.run().code == 0
    make_older(service, 86_400)
    for path in ledger_files(here):
        path.unlink()
    here.write(*OBJECTS[3:5])  # the whole list is read now, but not for the lines that are missing
    assert here.run().code == 0
    here.write(*OBJECTS)

    again = here.run()

    assert again.code == 0, again.err
    assert paid(service) == Counter(OBJECTS)


def test_with_a_lookback_of_zero_everything_is_sent_again(
    here: Playground, service: RunningService
) -> None:
    here.write(*OBJECTS, lookback=0)
    assert here.run().code == 0
    for path in ledger_files(here):
        path.unlink()

    assert here.run().code == 0
    assert paid(service) == Counter(OBJECTS * 2)
    assert service.state()["requests"].get("list", 0) == 0


def test_a_service_that_insists_on_a_queue_is_asked_queue_by_queue(
    here: Playground, service: RunningService
) -> None:
    service.spoil(
        {"route": "list", "do": "refuse", "code": "InvalidArgument", "times": 1},
    )
    here.write(*OBJECTS)
    assert here.run().code == 0

    assert service.state()["requests"]["list"] > 2  # once without a queue, then each queue
    assert paid(service) == Counter(OBJECTS)
