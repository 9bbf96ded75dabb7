"""The lock beside a ledger file."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from orchestrator.errors import ConfigError, LedgerError, LedgerLocked
from orchestrator.ledger import open_ledger
from orchestrator.ledger.lease import LedgerLock, locked_message
from orchestrator.testing.builders import make_holder
from tests.connection import connection

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.ledger.sql_ledger import SqlLedger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db.lock"


def test_a_lock_is_held_by_one(path: Path) -> None:
    first, second = LedgerLock(path), LedgerLock(path)
    assert first.acquire()
    assert not second.acquire()
    assert (first.is_held, second.is_held) == (True, False)
    assert not second.is_free()
    first.release()
    assert second.acquire()
    second.release()


def test_a_released_lock_leaves_no_file(path: Path) -> None:
    lock = LedgerLock(path)
    assert lock.acquire()
    assert path.exists()
    lock.release()
    lock.release()
    assert not path.exists()
    assert lock.is_free()


def test_a_lock_file_without_a_holder_is_free(path: Path) -> None:
    """A killed process leaves a lock file."""
    path.touch()
    assert LedgerLock(path).is_free()
    lock = LedgerLock(path)
    assert lock.acquire()
    lock.release()


def test_a_lock_whose_file_was_removed_is_lost(path: Path) -> None:
    first, second = LedgerLock(path), LedgerLock(path)
    assert first.acquire()
    path.unlink()
    assert not first.is_held
    assert second.acquire()
    first.release()
    assert path.exists()
    assert second.is_held
    second.release()


def test_a_lock_file_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LedgerError, match=r"lock file .* cannot be opened"):
        LedgerLock(tmp_path / "file" / "x.lock").acquire()


async def test_a_lost_lease_is_noticed_by_the_heartbeat(tmp_path: Path) -> None:
    ledger, other = open_ledger(tmp_path / "l.db"), open_ledger(tmp_path / "l.db")
    await ledger.acquire(make_holder())
    (tmp_path / "l.db.lock").unlink()
    await other.acquire(make_holder(pid=815))
    with pytest.raises(LedgerLocked, match="lost"):
        await ledger.heartbeat(1.0)
    await ledger.close()
    assert await other.holder() == make_holder(pid=815)
    await other.close()


async def test_the_last_heartbeat_is_stored(tmp_path: Path) -> None:
    ledger = open_ledger(tmp_path / "l.db")
    await ledger.acquire(make_holder())
    await ledger.heartbeat(1_700_000_123.5)
    writer = cast("SqlLedger", ledger)._writer
    seen = await writer.submit(
        lambda unit: connection(unit).execute("SELECT seen_at FROM lease").fetchone(),
        writes=False,
    )
    assert seen == (1_700_000_123_500_000,)
    await ledger.close()


def test_the_message_names_the_holder_and_says_what_to_do() -> None:
    assert locked_message("n.db", make_holder()) == (
        "Process 4711 on worker-1 (orchestrator run nightly.yaml) has been working on the ledger "
        "n.db since 2023-11-14 22:13:20 UTC. Wait until it ends or stop it, then run again; "
        "`orchestrator status` shows its progress."
    )
    assert locked_message("n.db", None).startswith("Another process works on the ledger n.db.")


async def test_a_ledger_has_one_lock_under_all_its_names(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "elsewhere" / "ledger.db")
    first, second = (
        open_ledger(tmp_path / "elsewhere" / "ledger.db"),
        open_ledger(tmp_path / "link.db"),
    )
    try:
        await first.acquire(make_holder())
        with pytest.raises(LedgerLocked, match=r"link\.db"):
            await second.acquire(make_holder())
    finally:
        await first.close()
        await second.close()


def test_a_ledger_behind_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").symlink_to(tmp_path / "b.db")
    (tmp_path / "b.db").symlink_to(tmp_path / "a.db")

    with pytest.raises(ConfigError, match=r"a\.db cannot be found"):
        open_ledger(tmp_path / "a.db")
