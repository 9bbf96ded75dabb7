"""What goes wrong with a database: nothing is lost, nothing is believed, and a sentence says it."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from orchestrator.domain.states import JobState, Step
from orchestrator.errors import (
    ConfigError,
    LedgerError,
    LedgerFull,
    LedgerLocked,
    LedgerMismatch,
)
from orchestrator.ledger import open_ledger
from orchestrator.ledger.group_commit import GroupWriter
from orchestrator.ledger.postgres.store import PostgresStore
from orchestrator.ledger.sql_ledger import SqlLedger
from orchestrator.postgresql import parse_address
from orchestrator.testing.builders import make_holder, make_specs
from tests.postgres_server import UNPRIVILEGED, PostgresServer, programs

from .cut_proxy import CutProxy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.domain.job import Job
    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Run

T0 = 1_795_309_200.0
COMMIT = b"COMMIT"


@pytest.fixture
def proxy(postgres: PostgresServer) -> Iterator[CutProxy]:
    with CutProxy(postgres.port) as proxy:
        yield proxy


@pytest.fixture
def url(postgres: PostgresServer) -> str:
    return postgres.url(name="n")


def through(proxy: CutProxy, url: str) -> str:
    return re.sub(r":\d+/", f":{proxy.port}/", url)


def patient(url: str, patience_s: float) -> SqlLedger:
    """Open a ledger that tries a lost server for some time again."""
    store = PostgresStore(parse_address(url), patience_s=patience_s)
    return SqlLedger(GroupWriter(store), store.lease, url)


async def start(ledger: Ledger, count: int = 3) -> tuple[Run, list[Job]]:
    await ledger.acquire(make_holder())
    run = await ledger.begin_run("n", T0, "r")
    return run, await ledger.add(run, make_specs(count))


def sent(job: Job) -> Job:
    job.step(Step.SEND)
    job.attempts, job.intent_at = 1, T0
    return job


async def stored(url: str, job: Job) -> Job:
    """Return a job as another process reads it."""
    reader = open_ledger(url, read_only=True)
    try:
        return (await reader.find([job.spec.key]))[job.spec.key]
    finally:
        await reader.close()


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_commit_whose_answer_is_lost_is_read_back(
    proxy: CutProxy, url: str, when: str
) -> None:
    """It is done once, whether or not the server had received it."""
    ledger = open_ledger(through(proxy, url))
    run, jobs = await start(ledger)
    setattr(proxy, when, COMMIT)
    for number in range(4):
        proxy.cuts = 1
        [added] = await ledger.add(run, [make_specs(10 + number)[-1]])
        await ledger.intend([sent(added)])
        assert added.id == 4 + number
        assert (await stored(url, added)).state is JobState.SUBMITTING
    proxy.cuts = 1
    jobs[0].step(Step.CANCEL)
    await ledger.save([jobs[0]])
    assert (jobs[0].row, jobs[0].saved_state) == (1, JobState.CANCELLED)
    assert proxy.made == 5
    assert [job.row for job in await ledger.rows(run)] == [1]
    await ledger.close()


@pytest.mark.parametrize("word", [b"keep_lease", b"BEGIN", b"UPDATE intents", b"SELECT"])
async def test_work_that_was_cut_off_runs_again(proxy: CutProxy, url: str, word: bytes) -> None:
    ledger = open_ledger(through(proxy, url))
    run, jobs = await start(ledger)
    proxy.before = word
    for job in jobs:
        proxy.cuts = 1
        await ledger.intend([sent(job)])
        job.step(Step.ACCEPT)
        job.job_id = f"j{job.id}"
        await ledger.save([job])
        found = await ledger.find([job.spec.key])
        assert found[job.spec.key].job_id == job.job_id
    assert (await ledger.counts(run)).of(JobState.SUBMITTED) == len(jobs)
    await ledger.close()


@pytest.mark.parametrize("seed", range(2))
async def test_a_bad_network_loses_and_doubles_nothing(
    proxy: CutProxy, url: str, seed: int
) -> None:
    chance = random.Random(seed)
    ledger = open_ledger(through(proxy, url))
    run, jobs = await start(ledger, 16)
    for job in jobs:
        proxy.cuts = 1
        proxy.before, proxy.after = chance.choice([(COMMIT, b""), (b"", COMMIT), (b"jobs", b"")])
        if chance.random() < 0.2:
            proxy.cut()
        await ledger.intend([sent(job)])
        job.step(Step.ACCEPT)
        await ledger.save([job])
        if chance.random() < 0.5:
            job.step(Step.SUCCEED)
            await asyncio.gather(ledger.save([job]), ledger.remember("x", b"%d" % job.id))
    ended = [job for job in jobs if job.state is JobState.SUCCEEDED]
    reader = open_ledger(url, read_only=True)
    rows = await reader.rows(run)
    assert [(job.id, job.row) for job in rows] == [(job.id, job.row) for job in ended]
    assert [job.row for job in rows] == list(range(1, len(ended) + 1))
    counts = await reader.counts(run)
    assert counts.of(JobState.SUBMITTED) == len(jobs) - len(ended)
    await reader.close()
    await ledger.close()


async def test_an_unclear_commit_that_cannot_be_read_back_is_not_believed(
    proxy: CutProxy, url: str
) -> None:
    ledger = patient(through(proxy, url), 0.0)
    _, [job, other, _] = await start(ledger)
    proxy.after, proxy.cuts, proxy.is_down = COMMIT, 1, True
    with pytest.raises(LedgerError, match="cannot be reached") as raised:
        await ledger.intend([sent(job)])
    assert "What was recorded is safe" in str(raised.value)
    proxy.is_down = False

    with pytest.raises(LedgerError, match="cannot be reached"):
        await ledger.intend([sent(other)])
    assert (await stored(url, job)).state is JobState.SUBMITTING
    assert (await stored(url, other)).state is JobState.PLANNED
    await ledger.close()


async def test_a_server_that_does_not_come_back_is_an_error_and_the_next_run_resumes(
    proxy: CutProxy, url: str
) -> None:
    ledger = patient(through(proxy, url) + "&lease=1", 1.0)
    _, [job, *_] = await start(ledger)
    await ledger.intend([sent(job)])
    proxy.is_down = True
    proxy.cut()
    job.step(Step.ACCEPT)
    with pytest.raises(LedgerError, match="start the server or repair the network"):
        await ledger.save([job])
    assert not ledger.may_send()
    await ledger.close()

    heir = open_ledger(url)
    await heir.acquire(make_holder(2))  # the lease has ended by now
    assert [found.id for found in await heir.in_states([JobState.SUBMITTING])] == [job.id]
    await heir.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
@pytest.mark.slow
async def test_a_run_survives_a_restart_of_the_server(how: signal.Signals) -> None:
    with PostgresServer(durable=True) as server:
        url = server.url(name="n")
        ledger = open_ledger(url)
        run, jobs = await start(ledger, 40)

        async def work() -> None:
            for job in jobs:
                await ledger.intend([sent(job)])
                job.step(Step.ACCEPT)
                await ledger.save([job])

        working = asyncio.create_task(work())
        for _ in range(2):
            await asyncio.to_thread(server.restart, how)
        await working
        assert (await ledger.counts(run)).of(JobState.SUBMITTED) == len(jobs)
        assert (await stored(url, jobs[-1])).state is JobState.SUBMITTED
        await ledger.close()


async def test_a_server_that_lost_confirmed_commits_is_not_believed(
    postgres: PostgresServer, proxy: CutProxy, url: str
) -> None:
    """A standby that was behind has taken over, for example."""
    ledger = open_ledger(through(proxy, url))
    _, [job, *_] = await start(ledger)
    postgres.change(url, "UPDATE lease SET commits = commits - 1")
    proxy.cut()
    with pytest.raises(LedgerError, match="lost what it had confirmed"):
        await ledger.intend([sent(job)])
    with pytest.raises(LedgerError, match="found at the service"):
        await ledger.remember("x", b"")
    await ledger.close()


async def test_a_holder_that_was_overtaken_while_cut_off_is_refused(
    postgres: PostgresServer, proxy: CutProxy, url: str
) -> None:
    ledger = open_ledger(through(proxy, url))
    _, [job, *_] = await start(ledger)
    postgres.change(url, "UPDATE lease SET expires_at = 0")
    heir = open_ledger(url)
    await heir.acquire(make_holder(2))
    proxy.cut()
    with pytest.raises(LedgerLocked, match="another run took it"):
        await ledger.intend([sent(job)])
    assert not ledger.may_send()
    with pytest.raises(LedgerLocked):
        await ledger.heartbeat(T0)
    assert await heir.holder() == make_holder(2)
    await ledger.close()
    await heir.close()


async def test_an_earlier_session_of_ours_does_not_block_the_next_one(
    proxy: CutProxy, url: str
) -> None:
    """The server takes a session for alive whose client was cut off: it holds its locks."""
    ledger = open_ledger(through(proxy, url))
    _, [job, *_] = await start(ledger)
    proxy.before, proxy.leaves_server, proxy.cuts = COMMIT, True, 1
    async with asyncio.timeout(3):  # the server itself would wait longer
        await ledger.intend([sent(job)])
    assert proxy.made == 1
    assert (await stored(url, job)).state is JobState.SUBMITTING
    await ledger.close()


async def test_a_lock_of_another_session_is_an_error_that_says_so(
    postgres: PostgresServer, url: str
) -> None:
    ledger = open_ledger(url + "&options=-c%20lock_timeout=100")
    _, [job, *_] = await start(ledger)
    with postgres.connect() as admin, admin.transaction():
        admin.execute(f'LOCK TABLE "{parse_address(url).ledger_schema}".jobs')
        with pytest.raises(LedgerError, match="locked by another session"):
            await ledger.intend([sent(job)])
    await ledger.intend([job])
    assert (await stored(url, job)).state is JobState.SUBMITTING
    await ledger.close()


async def test_a_contradiction_in_the_database_is_a_mismatch(
    postgres: PostgresServer, url: str
) -> None:
    ledger = open_ledger(url)
    run, _ = await start(ledger)
    postgres.change(url, "INSERT INTO jobs (id, key) VALUES (4, 'other')")
    with pytest.raises(LedgerMismatch, match="refused a contradiction"):
        await ledger.add(run, [make_specs(9)[-1]])
    await ledger.close()


async def test_tables_that_vanish_are_an_error(postgres: PostgresServer, url: str) -> None:
    ledger = open_ledger(url)
    _, [job, *_] = await start(ledger)
    with postgres.connect() as admin:
        admin.execute(f'DROP SCHEMA "{parse_address(url).ledger_schema}" CASCADE')
    with pytest.raises(LedgerError, match="lost its tables"):
        await ledger.intend([sent(job)])
    await ledger.close()


@pytest.mark.slow
async def test_a_standby_can_be_read_and_refuses_a_run() -> None:
    with PostgresServer() as server:
        url = server.url(name="n")
        ledger = open_ledger(url)
        run, _ = await start(ledger)
        with server.standby() as standby:
            behind = re.sub(r":\d+/", f":{standby.port}/", url)
            reader = open_ledger(behind, read_only=True)
            assert (await reader.last_run() or run).id == run.id
            assert (await reader.counts(run)).total == 3
            assert await reader.holder() == make_holder()
            await reader.close()
            writer = open_ledger(behind)
            with pytest.raises(LedgerError, match=r"accepts no changes .* standby"):
                await writer.acquire(make_holder(2))
            await writer.close()
        await ledger.close()


@pytest.mark.slow
async def test_a_run_continues_on_a_standby_that_took_over() -> None:
    with PostgresServer() as server, server.standby() as standby:
        both = f"127.0.0.1:{server.port},127.0.0.1:{standby.port}/"
        url = re.sub(r"127\.0\.0\.1:\d+/", both, server.url(name="n"))
        ledger = open_ledger(f"{url}&target_session_attrs=read-write")
        run, jobs = await start(ledger)
        await ledger.intend([sent(jobs[0])])
        await asyncio.to_thread(standby.wait_for, server)
        await asyncio.to_thread(server.stop, signal.SIGQUIT)
        promoting = asyncio.create_task(asyncio.to_thread(standby.promote))
        jobs[0].step(Step.ACCEPT)
        await ledger.save([jobs[0]])
        await ledger.intend([sent(jobs[1])])
        await promoting
        counts = await ledger.counts(run)
        assert (counts.of(JobState.SUBMITTED), counts.of(JobState.SUBMITTING)) == (1, 1)
        await ledger.close()


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """Mount a disk of 1.5 MB, which the server may write to."""
    path.mkdir()
    options = f"size=1500k,uid={UNPRIVILEGED},gid={UNPRIVILEGED}"
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
    if os.getuid() or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.mark.slow
async def test_a_full_disk_is_an_error_and_loses_nothing() -> None:
    with PostgresServer() as server, small_disk(server.data.parent / "disk"):
        with server.connect() as admin:
            admin.execute(f"CREATE TABLESPACE small LOCATION '{server.data.parent}/disk'")
        url = server.url(name="n") + "&options=-c%20default_tablespace=small"
        ledger = open_ledger(url)
        run, jobs = await start(ledger)

        async def fill() -> None:
            for number in range(1, 30):
                await ledger.add(run, make_specs(number * 500))

        with pytest.raises(LedgerFull, match=r"has no space left .*free some space"):
            await fill()
        assert (await ledger.counts(run)).total % 500 in {0, 3}
        await ledger.intend([sent(jobs[0])])  # a small change still fits
        await ledger.close()
        assert (await stored(url, jobs[0])).state is JobState.SUBMITTING
        server.stop()


def test_a_missing_driver_is_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ConfigError) as raised:
        open_ledger("postgresql://host/db?name=n")
    assert "pip install 'voiceseparate-orchestrator[postgres]'" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (("tester@", "missing@"), r"refuses the connection .*missing.* user and database"),
        (("/postgres?", "/missing?"), r"refuses the connection .*missing.* user and database"),
        (("/postgres?", "/postgres?nonsense=1&"), "cannot be read"),
    ],
)
def test_an_address_that_leads_nowhere_is_an_error(
    url: str, change: tuple[str, str], wanted: str
) -> None:
    with pytest.raises((LedgerError, ConfigError), match=wanted):
        open_ledger(url.replace(*change))


def test_programs_of_a_server_are_found() -> None:
    assert (programs() / "postgres").exists()
