"""A ledger file that is moved, removed or replaced while it is open is noticed and saved."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, cast

import pytest

from orchestrator.domain.run import Counts
from orchestrator.domain.states import JobState, Step
from orchestrator.errors import LedgerDisplaced, LedgerError, LedgerLocked
from orchestrator.ledger import open_ledger
from orchestrator.testing.builders import make_holder, make_specs
from tests.connection import connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Run
    from orchestrator.ledger.sql_ledger import SqlLedger
    from orchestrator.ledger.unit_of_work import UnitOfWork

T0 = 1_700_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "work" / "ledger.db"


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    """An older state of the ledger, as a whole file."""
    return tmp_path / "backup.db"


@pytest.fixture
async def ledger(path: Path, backup: Path) -> AsyncIterator[Ledger]:
    before = open_ledger(path)
    await before.acquire(make_holder())
    await before.begin_run("n", T0, "r")
    await before.close()
    shutil.copyfile(path, backup)
    ledger = open_ledger(path)
    await ledger.acquire(make_holder())
    yield ledger
    await ledger.close()


def sending(jobs: list[Job]) -> list[Job]:
    for job in jobs:
        job.step(Step.SEND)
        job.attempts, job.intent_at = 1, T0
    return jobs


def accepted(jobs: list[Job]) -> list[Job]:
    for job in jobs:
        job.step(Step.ACCEPT)
        job.job_id = f"j{job.id}"
    return jobs


def wal(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def move(path: Path, backup: Path) -> None:
    path.rename(path.with_name("elsewhere.db"))


def remove(path: Path, backup: Path) -> None:
    path.unlink()


def remove_all(path: Path, backup: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def remove_folder(path: Path, backup: Path) -> None:
    shutil.rmtree(path.parent)


def move_folder(path: Path, backup: Path) -> None:
    path.parent.rename(path.parent.with_name("older"))


def move_over(path: Path, backup: Path) -> None:
    backup.replace(path)


def copy_over(path: Path, backup: Path) -> None:
    shutil.copyfile(backup, path)


def copy_over_without_log(path: Path, backup: Path) -> None:
    wal(path).unlink()
    shutil.copyfile(backup, path)


def remove_log(path: Path, backup: Path) -> None:
    wal(path).unlink()


def replace_log(path: Path, backup: Path) -> None:
    wal(path).unlink()
    wal(path).touch()


WAYS: dict[Callable[[Path, Path], None], str] = {
    move: "moved or removed",
    remove: "moved or removed",
    remove_all: "moved or removed",
    remove_folder: "moved or removed",
    move_folder: "moved or removed",
    move_over: "replaced by another file",
    copy_over: "overwritten by another program",
    copy_over_without_log: "ledger.db-wal, which was moved",
    remove_log: "ledger.db-wal, which was moved",
    replace_log: "ledger.db-wal, which was moved",
}


async def begun(ledger: Ledger, count: int) -> tuple[Run, list[Job]]:
    run = await ledger.begin_run("n", T0, "r")
    return run, await ledger.add(run, make_specs(count))


async def pragmas(ledger: Ledger, *texts: str) -> None:
    """Run pragmas outside the transaction that all work is in."""

    def work(unit: UnitOfWork) -> None:
        for text in ("COMMIT", *(f"PRAGMA {text}" for text in texts), "BEGIN"):
            connection(unit).execute(text).close()

    await cast("SqlLedger", ledger)._writer.submit(work, writes=False)


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_more_is_sent_and_all_that_was_recorded_is_saved(
    path: Path,
    backup: Path,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[[Path, Path], None],
) -> None:
    monkeypatch.chdir(path.parent.parent)  # where it is saved if the folder is gone
    _, jobs = await begun(ledger, 9)
    if way is copy_over:  # before it, the file has no more than the backup
        await pragmas(ledger, "wal_checkpoint(PASSIVE)")
    sent = sending(jobs[:5])
    await ledger.intend(sent)
    way(path, backup)
    late, early = accepted(sent[:2]), accepted(sent[2:4])

    refused, recorded = await asyncio.gather(
        ledger.intend(sending(jobs[5:8])), ledger.save(early), return_exceptions=True
    )

    assert isinstance(refused, LedgerDisplaced)
    assert re.search(WAYS[way], str(refused))
    assert recorded is None
    await ledger.save(late)
    with pytest.raises(LedgerDisplaced):
        await ledger.intend(sending(jobs[8:]))
    await ledger.heartbeat(T0)  # it is known: the run ends in order
    await ledger.close()
    command = str(refused).rpartition("run again: ")[2]
    if way in {remove_folder, move_folder}:
        path.parent.mkdir()
    subprocess.run(["/bin/sh", "-c", command], check=True)  # noqa: ASYNC221 - it is quick
    again = open_ledger(path)
    await again.acquire(make_holder())
    assert await again.counts(await again.begin_run("n", T0, "r")) == Counts(
        {JobState.SUBMITTED: 4, JobState.SUBMITTING: 1, JobState.PLANNED: 4}
    )
    await again.close()


@pytest.mark.parametrize("way", [move_over, copy_over, copy_over_without_log])
async def test_a_restored_file_is_left_as_it_is(
    path: Path, backup: Path, ledger: Ledger, way: Callable[[Path, Path], None]
) -> None:
    """SQLite would write its log into it when the ledger is closed, or when it is opened again."""
    content = content_of(backup)
    _, jobs = await begun(ledger, 300)
    await pragmas(ledger, "wal_checkpoint(PASSIVE)")
    way(path, backup)
    with pytest.raises(LedgerDisplaced):
        await ledger.intend(sending(jobs))
    await ledger.close()

    assert content_of(path) == content
    assert not wal(path).exists()


async def test_a_log_that_was_restored_with_its_file_stays(
    path: Path, backup: Path, ledger: Ledger
) -> None:
    _, jobs = await begun(ledger, 3)
    remove_all(path, backup)
    move_over(path, backup)
    wal(path).write_bytes(b"log")
    with pytest.raises(LedgerDisplaced):
        await ledger.intend(sending(jobs))
    await ledger.close()

    assert wal(path).read_bytes() == b"log"


async def test_it_is_noticed_without_an_intent(
    path: Path, backup: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent.parent)  # where it is saved, because the folder is gone
    await begun(ledger, 3)
    move_folder(path, backup)
    with pytest.raises(LedgerDisplaced) as first:
        await ledger.heartbeat(T0)
    assert not isinstance(first.value, LedgerLocked)
    await ledger.heartbeat(T0)


async def test_it_is_noticed_at_the_end(path: Path, backup: Path, ledger: Ledger) -> None:
    await begun(ledger, 3)
    remove(path, backup)
    with pytest.raises(LedgerDisplaced, match=r"was saved in .*ledger\.db\.saved-\d{8}T\d{6}Z"):
        await ledger.close()
    [saved] = path.parent.glob("ledger.db.saved-*")
    assert saved.stat().st_size


async def test_a_symbolic_link_that_leads_elsewhere_now_is_noticed(
    tmp_path: Path, backup: Path, path: Path, ledger: Ledger
) -> None:
    await ledger.close()
    link = tmp_path / "link.db"
    link.symlink_to(path)
    linked = open_ledger(link)
    await linked.acquire(make_holder())
    _, jobs = await begun(linked, 3)
    link.unlink()
    link.symlink_to(backup)
    with pytest.raises(LedgerDisplaced, match=r"link\.db was replaced"):
        await linked.intend(sending(jobs))
    await linked.close()


async def test_a_copy_that_cannot_be_saved_is_said_so(
    path: Path, backup: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("orchestrator.ledger.ledger_file._copy", refuse)
    _, jobs = await begun(ledger, 3)
    remove(path, backup)
    with pytest.raises(LedgerDisplaced, match=r"could not be saved .*No space left.*backup"):
        await ledger.intend(sending(jobs))
    await ledger.close()


async def test_pages_that_contradict_each_other_are_not_called_saved(
    path: Path, backup: Path, ledger: Ledger
) -> None:
    """Of an overwritten file only the log and the pages in memory are left."""
    _, jobs = await begun(ledger, 3000)
    await pragmas(ledger, "wal_checkpoint(TRUNCATE)", "cache_size = 1", "shrink_memory")
    await ledger.intend(sending(jobs[:1]))
    copy_over(path, backup)
    with pytest.raises(LedgerError):
        await ledger.intend(sending(jobs[1:]))
    await ledger.close()
    assert list(path.parent.glob("*.saved-*")) == []


# --- two names


async def test_a_file_with_two_names_is_refused(path: Path, ledger: Ledger) -> None:
    await ledger.close()
    os.link(path, path.with_name("other.db"))
    for name in ("ledger.db", "other.db"):
        with pytest.raises(LedgerDisplaced, match=r"second name \(a hard link\)"):
            open_ledger(path.with_name(name))
    await open_ledger(path, read_only=True).close()
    path.with_name("other.db").unlink()
    await open_ledger(path).close()


async def test_a_second_name_is_noticed_before_a_job_is_sent(path: Path, ledger: Ledger) -> None:
    run, jobs = await begun(ledger, 3)
    os.link(path, path.with_name("other.db"))
    with pytest.raises(LedgerDisplaced, match="second name"):
        await ledger.intend(sending(jobs))
    assert await ledger.counts(run) == Counts({JobState.PLANNED: 3})
    await ledger.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["ledger.db", "other.db"]


# --- what is harmless


async def test_checkpoints_readers_and_new_times_are_no_reason_to_stop(
    path: Path, ledger: Ledger
) -> None:
    _, jobs = await begun(ledger, 60)
    await pragmas(ledger, "wal_autocheckpoint = 2")
    for number, job in enumerate(sending(jobs)):
        await ledger.intend([job])
        await ledger.save(accepted([job]))
        if number % 12 == 0:
            reader = open_ledger(path, read_only=True)
            await reader.in_states({JobState.SUBMITTED})
            await reader.close()
            shutil.copyfile(path, path.with_name("copy.db"))
        if number % 15 == 0:
            os.utime(path)
    await ledger.heartbeat(T0)
