"""Writes share commits; what depends on a commit happens even if its caller is gone."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import pytest

from orchestrator.server.jobs.database import Database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ADD = "INSERT INTO activations VALUES (?, 'asr', 'r', 0)"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    """A new database."""
    made = Database(tmp_path / "queue.db", durable=False)
    yield made
    await made.close()


async def nothing() -> None:
    pass


def buckets(database: Database) -> list[str]:
    return [row[0] for row in database.read("SELECT bucket FROM activations ORDER BY bucket")]


async def test_a_write_whose_caller_is_cancelled_still_reports_its_commit(
    database: Database,
) -> None:
    seen: list[str] = []
    caller = asyncio.create_task(database.execute(ADD, ("a",), lambda: seen.append("a")))
    await asyncio.create_task(nothing())  # lets the caller begin
    caller.cancel()

    await database.execute(ADD, ("b",))

    assert caller.cancelled()
    assert seen == ["a"]
    assert buckets(database) == ["a", "b"]


async def test_a_write_that_fails_reports_no_commit_and_spares_the_others(
    database: Database,
) -> None:
    seen: list[str] = []

    results = await asyncio.gather(
        database.execute(ADD, ("a",), lambda: seen.append("a")),
        database.execute(ADD, ("a",), lambda: seen.append("twice")),
        database.execute(ADD, ("b",), lambda: seen.append("b")),
        return_exceptions=True,
    )

    assert [type(result) for result in results] == [
        type(None),
        sqlite3.IntegrityError,
        type(None),
    ]
    assert seen == ["a", "b"]
    assert buckets(database) == ["a", "b"]
