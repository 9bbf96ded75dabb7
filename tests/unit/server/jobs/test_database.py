"""Writes share commits; what depends on a commit happens even if its caller is gone."""

from __future__ import annotations

import asyncio
import sqlite3
from functools import partial
from typing import TYPE_CHECKING

import pytest

from orchestrator.server.jobs.database import Database, Insert

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

ADD = "INSERT INTO activations VALUES (?, 'asr', 'r', 0)"
INTO = Insert("activations", ("bucket", "created_at"), {"family": "asr", "region": "it's"})


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


async def test_the_rows_of_many_inserts_are_written_with_what_all_of_them_have(
    database: Database,
) -> None:
    count = 2 * Insert.MAX_ROWS + 1
    seen: list[int] = []

    await asyncio.gather(
        *(
            database.insert(INTO, [(f"b{number:03}", number)], partial(seen.append, number))
            for number in range(count)
        )
    )

    rows = database.read("SELECT bucket, family, region, created_at FROM activations ORDER BY 1")
    assert rows == [(f"b{number:03}", "asr", "it's", number) for number in range(count)]
    assert seen == list(range(count))


@pytest.mark.parametrize("beside", [True, False])
async def test_an_insert_that_fails_spares_the_others(database: Database, beside: bool) -> None:
    """Alone they are one statement; beside another write they are part of a transaction."""
    seen: list[str] = []

    results = await asyncio.gather(
        database.insert(INTO, [("a", 1), ("b", 1)], lambda: seen.append("a")),
        database.insert(INTO, [("c", 1), ("b", 1)], lambda: seen.append("c")),
        database.insert(INTO, [("d", 1)], lambda: seen.append("d")),
        *([database.execute("DELETE FROM queues")] if beside else []),
        return_exceptions=True,
    )

    assert [isinstance(result, sqlite3.IntegrityError) for result in results[:3]] == [
        *(False, True, False)
    ]
    assert seen == ["a", "d"]
    assert buckets(database) == ["a", "b", "d"]


async def test_writes_are_carried_out_in_their_order(database: Database) -> None:
    first = database.insert(INTO, [("a", 1)])
    second = asyncio.create_task(database.execute("DELETE FROM activations"))
    await asyncio.create_task(nothing())  # lets the second begin
    await asyncio.gather(first, second, database.insert(INTO, [("b", 1)]))

    assert buckets(database) == ["b"]
