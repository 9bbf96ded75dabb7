"""The ledger of a running command is removed, moved or replaced: it stops, and nothing is lost."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from orchestrator.ledger import open_ledger
from orchestrator.server.pace import Pace, Progression
from orchestrator.testing.builders import make_holder
from tests.e2e.playground import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.playground import Playground, RunningService

pytestmark = pytest.mark.slow
COUNT = 12
FIRST = 4


def remove(ledger: Path, backup: Path) -> None:
    for file in ledger.parent.glob(f"{ledger.name}*"):
        file.unlink()


def copy_over(ledger: Path, backup: Path) -> None:
    wal(ledger).unlink()
    shutil.copyfile(backup, ledger)


def move_over(ledger: Path, backup: Path) -> None:
    shutil.copyfile(backup, ledger.with_name("copy"))
    ledger.with_name("copy").replace(ledger)


def wal(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + "-wal")


def older(backup: Path) -> Path:
    """Make a ledger as an older backup has it: nothing was sent yet."""

    async def make() -> None:
        ledger = open_ledger(backup)
        await ledger.acquire(make_holder())
        await ledger.begin_run("album", 1.0, "r")
        await ledger.close()

    asyncio.run(make())
    return backup


@pytest.mark.parametrize("way", [remove, copy_over, move_over])
def test_the_run_stops_and_the_saved_ledger_resumes_it_without_a_doubled_job(
    here: Playground, service: RunningService, way: Callable[[Path, Path], None]
) -> None:
    service.pace(Progression(Pace.HOLD))
    # These answers are on their way when the file goes.
    service.spoil({"route": "submit", "do": "delay_answer", "delay_s": 2, "times": FIRST})
    here.write(*(f"in/{number}.mp3" for number in range(COUNT)), limits={"connections": FIRST})
    ledger = here.folder / ".orchestrator" / "album.db"
    backup = older(here.folder / "night.db")
    running = here.start("run", here.path.name, "--log-json")
    until(lambda: len(service.jobs()) == FIRST, "the first jobs did not arrive")
    way(ledger, backup)

    stopped = running.finish()

    assert stopped.code == 4
    assert len(service.jobs()) == FIRST
    jobs = here.summary()["jobs"]
    assert (jobs["submitted"], jobs["planned"]) == (FIRST, COUNT - FIRST)
    found = re.search(r"(rm -f \S+ \S+; mv \S+ [^\s\"]+)", stopped.err)
    assert found, stopped.err
    subprocess.run(["/bin/sh", "-c", found[1]], check=True)
    service.pace(Progression(Pace.IMMEDIATE))
    assert here.run().code == 0
    keys = Counter(service.keys())
    assert len(keys) == COUNT
    assert set(keys.values()) == {1}
    assert {row["key"] for row in here.rows()} == set(keys)


def test_it_is_noticed_by_a_run_that_only_waits(
    here: Playground, service: RunningService, tmp_path: Path
) -> None:
    """Its folder is gone, and with it the lock: the heartbeat must not call that a lost lease."""
    service.pace(Progression(Pace.HOLD))
    here.write("in/0.mp3")
    ledger = here.folder / ".orchestrator" / "album.db"
    running = here.start("run", here.path.name, "--verbose")
    running.wait_for("submitted  in/")
    ledger.parent.rename(tmp_path / "elsewhere")

    stopped = running.finish()

    assert stopped.code == 4
    assert "was moved or removed" in stopped.err
    assert here.summary()["jobs"]["submitted"] == 1
    assert list(here.folder.glob("album.db.saved-*"))


def test_a_ledger_with_two_names_is_refused(here: Playground, service: RunningService) -> None:
    here.write("in/0.mp3")
    assert here.run().code == 0
    ledger = here.folder / ".orchestrator" / "album.db"
    ledger.with_name("other.db").hardlink_to(ledger)

    refused = here.run()

    assert refused.code == 4
    assert "second name (a hard link)" in refused.err
    assert here.do("status", here.path.name).code == 0
