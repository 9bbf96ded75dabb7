"""Faults of the ledger's file or disk end in messages that say what to do."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, cast

import pytest

from orchestrator.domain.run import Counts
from orchestrator.domain.states import JobState, Step
from orchestrator.errors import ConfigError, LedgerCorrupt, LedgerError, LedgerFull
from orchestrator.ledger import ledger_path, open_ledger
from orchestrator.testing.builders import make_holder, make_specs
from tests.connection import connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from orchestrator.domain.ports import Ledger
    from orchestrator.ledger.sql_ledger import SqlLedger

T0 = 1_700_000_000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[Ledger]:
    ledger = open_ledger(path)
    await ledger.acquire(make_holder())
    yield ledger
    await ledger.close()


async def made(path: Path, jobs: int = 0) -> None:
    """A ledger with a few jobs."""
    ledger = open_ledger(path)
    await ledger.acquire(make_holder())
    await ledger.add(await ledger.begin_run("n", T0, "r"), make_specs(jobs))
    await ledger.close()


@pytest.mark.parametrize("found", [b"version: 1\nname: nightly\n", b"\0" * 4096, b"SQL"])
def test_a_file_of_another_kind_is_refused_and_unchanged(path: Path, found: bytes) -> None:
    path.write_bytes(found)
    with pytest.raises(LedgerCorrupt, match=r"ledger\.db is not a ledger.*--ledger"):
        open_ledger(path)
    assert path.read_bytes() == found


def test_a_database_of_another_program_is_refused(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE songs (name)")
    other.close()
    with pytest.raises(LedgerCorrupt, match="another program"):
        open_ledger(path)


@pytest.mark.parametrize("read_only", [False, True])
async def test_a_ledger_of_another_format_is_refused(path: Path, read_only: bool) -> None:
    await made(path)
    other = sqlite3.connect(path)
    other.execute("UPDATE facts SET value = 99 WHERE name = 'format'")
    other.commit()
    other.close()
    with pytest.raises(
        LedgerCorrupt, match=r"has format 99; this version of orchestrator reads format 2"
    ):
        open_ledger(path, read_only=read_only)


async def made_by_version_1(path: Path) -> None:
    """A ledger of format 1, which had no ``intents``."""
    await made(path, 3)
    other = sqlite3.connect(path)
    other.executescript("DROP TABLE intents; UPDATE facts SET value = 1 WHERE name = 'format'")
    other.close()


async def test_a_ledger_of_format_1_can_be_read(path: Path) -> None:
    await made_by_version_1(path)
    ledger = open_ledger(path, read_only=True)
    run = await ledger.last_run()
    assert run is not None
    assert await ledger.counts(run) == Counts({JobState.PLANNED: 3})
    assert len(await ledger.in_states({JobState.PLANNED})) == 3
    await ledger.close()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT value FROM facts WHERE name = 'format'").fetchall() == [(1,)]


async def test_a_ledger_of_format_1_is_continued(path: Path) -> None:
    await made_by_version_1(path)
    for expected in (JobState.PLANNED, JobState.SUBMITTING):
        ledger = open_ledger(path)
        await ledger.acquire(make_holder())
        jobs = await ledger.add(await ledger.begin_run("n", T0, "r"), make_specs(3))
        assert {job.state for job in jobs} == {expected}
        if expected is JobState.PLANNED:
            for job in jobs:
                job.step(Step.SEND)
                job.intent_at = T0
            await ledger.intend(jobs)
        await ledger.close()


async def test_a_reader_sees_the_intents_of_a_running_process(path: Path, ledger: Ledger) -> None:
    """The rows of the jobs do not show them, and ``status`` must."""
    run = await ledger.begin_run("n", T0, "r")
    [sent, done, waits] = await ledger.add(run, make_specs(3))
    reader = open_ledger(path, read_only=True)
    for job in (sent, done):
        job.step(Step.SEND)
        job.intent_at = T0
    await ledger.intend([sent, done])
    assert await reader.counts(run) == Counts({JobState.SUBMITTING: 2, JobState.PLANNED: 1})
    done.step(Step.ACCEPT)
    await ledger.save([done])

    assert await reader.counts(run) == Counts(
        {JobState.SUBMITTING: 1, JobState.SUBMITTED: 1, JobState.PLANNED: 1}
    )
    assert {
        key: job.state
        for key, job in (await reader.find([job.spec.key for job in (sent, done, waits)])).items()
    } == {
        sent.spec.key: JobState.SUBMITTING,
        done.spec.key: JobState.SUBMITTED,
        waits.spec.key: JobState.PLANNED,
    }
    assert [job.id for job in await reader.in_states({JobState.PLANNED})] == [waits.id]
    assert [
        job.id for job in await reader.in_states({JobState.SUBMITTING, JobState.SUBMITTED})
    ] == [sent.id, done.id]
    await reader.close()


async def test_a_truncated_ledger_is_refused(path: Path) -> None:
    await made(path, 500)
    cut(path)
    with pytest.raises(LedgerCorrupt, match="damaged"):
        open_ledger(path)


async def test_damage_in_the_middle_is_an_error_when_it_is_read(path: Path) -> None:
    await made(path, 2000)
    garble(path)
    with pytest.raises(LedgerCorrupt, match=r"damaged.*backup"):
        await met(path)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garble(path: Path) -> None:
    """Keep the first pages, which hold the tables' definitions."""
    content = path.read_bytes()
    path.write_bytes(content[: 3 * 4096] + b"\xff" * (len(content) - 3 * 4096))


def content(path: Path) -> bytes:
    return path.read_bytes()


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture
def empty(path: Path) -> Path:
    path.touch()
    return path


async def met(path: Path) -> None:
    ledger = open_ledger(path)
    try:
        await ledger.in_states(set(JobState))
    finally:
        await ledger.close()


async def test_an_empty_file_becomes_a_ledger(empty: Path) -> None:
    """A crash while a ledger is made leaves an empty file."""
    await made(empty, 1)
    assert content(empty).startswith(b"SQLite")


def test_missing_folders_are_made(path: Path) -> None:
    ledger = open_ledger(path.parent / "a" / "b" / "ledger.db")
    asyncio.run(ledger.close())
    assert (path.parent / "a" / "b" / "ledger.db").exists()


def test_a_folder_instead_of_the_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=str(tmp_path)):
        open_ledger(tmp_path)


def test_a_file_instead_of_the_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"cannot be used.*--ledger"):
        open_ledger(tmp_path / "file" / "ledger.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(LedgerError, match=r"writable"):
        open_ledger(tmp_path / "ledger.db")
    tmp_path.chmod(0o700)


async def test_a_file_that_became_read_only_is_an_error(ledger: Ledger) -> None:
    """SQLite's error on a read-only file system, provoked with a pragma."""
    await pragma(ledger, "query_only = ON")
    with pytest.raises(
        LedgerError, match=r"cannot be opened for writing\. Make the file and its folder writable"
    ):
        await ledger.remember("x", b"")


async def pragma(ledger: Ledger, text: str) -> None:
    writer = cast("SqlLedger", ledger)._writer
    await writer.submit(
        lambda unit: connection(unit).execute(f"PRAGMA {text}").close(), writes=False
    )


async def test_a_full_disk_undoes_the_group_and_every_caller_gets_an_error(ledger: Ledger) -> None:
    run = await ledger.begin_run("n", T0, "r")
    jobs = await ledger.add(run, make_specs(200))
    await pragma(ledger, "max_page_count = 1")  # SQLite uses the present size instead
    for job in jobs:
        job.step(Step.CANCEL)
        job.message = "long " * 400
    errors = await asyncio.gather(*(ledger.save([job]) for job in jobs), return_exceptions=True)

    assert {type(error) for error in errors} == {LedgerFull}
    assert len({id(error) for error in errors}) == len(jobs)
    assert "free some space" in str(errors[0])
    assert {(job.saved_state, job.row) for job in jobs} == {(JobState.PLANNED, 0)}
    assert (await ledger.counts(run)).of(JobState.PLANNED) == 200

    await pragma(ledger, "max_page_count = 1000000")
    await ledger.save(jobs)
    assert [job.row for job in jobs] == list(range(1, 201))


async def test_an_intent_that_could_not_be_written_is_dropped(ledger: Ledger) -> None:
    run = await ledger.begin_run("n", T0, "r")
    jobs = await ledger.add(run, make_specs(400))
    await ledger.remember("x", b"1" * 4000)  # so that the pages of the file are full
    for job in jobs:
        job.step(Step.SEND)
        job.intent_at = T0
    await ledger.intend(jobs[:1])
    await pragma(ledger, "max_page_count = 1")
    with pytest.raises(LedgerFull):
        await ledger.intend(jobs[1:])

    assert await ledger.counts(run) == Counts({JobState.SUBMITTING: 1, JobState.PLANNED: 399})
    await pragma(ledger, "max_page_count = 1000000")
    await ledger.intend(jobs[1:])
    assert await ledger.counts(run) == Counts({JobState.SUBMITTING: 400})


async def test_numbers_are_reused_after_a_failure(ledger: Ledger) -> None:
    run = await ledger.begin_run("n", T0, "r")
    await pragma(ledger, "max_page_count = 1")
    with pytest.raises(LedgerFull):
        await ledger.add(run, make_specs(500))
    await pragma(ledger, "max_page_count = 1000000")

    assert [job.id for job in await ledger.add(run, make_specs(3))] == [1, 2, 3]


LIMITED = """
import asyncio, sys
from orchestrator.errors import LedgerError
from orchestrator.ledger import open_ledger
from orchestrator.testing.builders import make_holder, make_specs
from tests.connection import connection

async def main():
    ledger = open_ledger(sys.argv[1])
    await ledger.acquire(make_holder())
    run = await ledger.begin_run("n", 1.0, "r")
    done = 0
    try:
        while True:
            await ledger.add(run, make_specs(100, done + 1))
            done += 100
    except LedgerError as error:
        print(done, type(error).__name__, error)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_a_limit_on_file_size_ends_in_an_error_and_what_was_recorded_is_safe(
    path: Path,
) -> None:
    """Let the file system refuse to write, in a process of its own."""
    process = subprocess.run(  # noqa: ASYNC221  # nothing else runs here
        [sys.executable, "-c", LIMITED, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000)),
    )
    done, kind, *_ = process.stdout.split()
    assert int(done) > 0
    assert kind in {"LedgerFull", "LedgerError"}
    assert "What was recorded is safe" in process.stdout
    ledger = open_ledger(path, read_only=True)
    run = await ledger.last_run()
    assert run is not None
    assert (await ledger.counts(run)).total == int(done)
    await ledger.close()


async def test_a_reader_changes_nothing(path: Path) -> None:
    await made(path, 3)
    before = content(path)
    reader = open_ledger(path, read_only=True)
    assert len(await reader.in_states({JobState.PLANNED})) == 3
    with pytest.raises(LedgerError, match="for reading only"):
        await reader.remember("x", b"")
    with pytest.raises(LedgerError, match="for reading only"):
        await reader.acquire(make_holder())
    await reader.close()
    assert content(path) == before


async def test_a_missing_ledger_reads_as_an_empty_one_and_is_not_made(path: Path) -> None:
    reader = open_ledger(path, read_only=True)
    assert await reader.last_run() is None
    assert await reader.holder() is None
    assert await reader.find([spec.key for spec in make_specs(2)]) == {}
    await reader.close()
    assert names(path.parent) == []


async def test_an_empty_file_reads_as_an_empty_ledger_and_is_unchanged(
    empty: Path,
) -> None:
    """A full disk leaves an empty file."""
    reader = open_ledger(empty, read_only=True)
    try:
        assert await reader.last_run() is None
    finally:
        await reader.close()

    assert content(empty) == b""


async def test_a_reader_sees_new_commits_of_the_writer(path: Path, ledger: Ledger) -> None:
    reader = open_ledger(path, read_only=True)
    run = await ledger.begin_run("n", T0, "r")
    await ledger.add(run, make_specs(3))
    assert (await reader.counts(run)).total == 3
    assert await reader.holder() == make_holder()
    await reader.close()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("x.db", "x.db"),
        ("sqlite:///x.db", "x.db"),
        ("sqlite:////var/x.db", "/var/x.db"),
        ("a:b.db", "a:b.db"),
    ],
)
def test_a_ledger_is_named_by_path_or_url(name: str, wanted: str) -> None:
    assert str(ledger_path(name)) == wanted


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mysql://host/db", "cannot be kept"),
        ("sqlite:///", "names no file"),
        ("", "names no file"),
        ("sqlite://host/x.db", "cannot be kept"),
    ],
)
def test_an_unusable_name_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_ledger(name)
