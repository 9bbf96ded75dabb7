"""The schema of a ledger in PostgreSQL: numbered migrations, rights, versions."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from orchestrator.errors import LedgerCorrupt, LedgerError, LedgerLocked
from orchestrator.ledger import open_ledger
from orchestrator.ledger.postgres.schema import migrations, prepare, version_of
from orchestrator.postgresql import Address, connect, parse_address
from orchestrator.testing.builders import make_holder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.postgres_server import PostgresServer

OWN_COLUMNS = {("lease", "expires_at"), ("lease", "commits")}
KINDS = {"INTEGER": "bigint", "TEXT": "text", "BLOB": "bytea"}
QUOTED = {"row": '"row"'}


@pytest.fixture
def address(postgres: PostgresServer) -> Address:
    return parse_address(postgres.url(name="nightly"))


@pytest.fixture
def conn(address: Address) -> Iterator[psycopg.Connection[Any]]:
    with connect(address, address.ledger_schema) as conn:
        yield conn


def test_migrations_are_numbered_without_gaps() -> None:
    assert list(migrations()) == list(range(1, len(migrations()) + 1))


def columns_of_file(file: sqlite3.Connection) -> dict[tuple[str, str], tuple[str, bool]]:
    """Return the kind of each column of a ledger file, and True if it may be empty."""
    rows = file.execute(
        'SELECT t.name, c.name, c.type, c."notnull" FROM sqlite_master AS t'
        " JOIN pragma_table_info(t.name) AS c WHERE t.type = 'table'"
    )
    return {(table, column): (KINDS[kind], not full) for table, column, kind, full in rows}


def indexes_of_file(file: sqlite3.Connection) -> dict[str, list[str]]:
    """Return the columns of each index that has a name."""
    found: dict[str, list[str]] = {}
    for index, column in file.execute(
        "SELECT i.name, c.name FROM sqlite_master AS i JOIN pragma_index_info(i.name) AS c"
        " WHERE i.type = 'index' AND i.sql IS NOT NULL ORDER BY i.name, c.seqno"
    ):
        found.setdefault(index, []).append(column)
    return found


async def test_the_tables_are_those_of_a_ledger_file(
    address: Address, conn: psycopg.Connection[Any], tmp_path: Path
) -> None:
    prepare(conn, address)
    found = {
        (table, column): (kind, nullable == "YES")
        for table, column, kind, nullable in conn.execute(
            "SELECT table_name, column_name, data_type, is_nullable"
            " FROM information_schema.columns WHERE table_schema = current_schema()"
        )
    }
    indexes = dict(
        conn.execute(
            "SELECT indexrelid::regclass::text, ("
            "   SELECT array_agg(pg_get_indexdef(indexrelid, n, true) ORDER BY n)"
            "     FROM generate_series(1, indnatts) AS n)"
            " FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid"
            " WHERE relnamespace = current_schema()::regnamespace AND NOT indisunique"
        ).fetchall()
    )
    await open_ledger(tmp_path / "ledger.db").close()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as file:
        assert {key: found[key] for key in found.keys() - OWN_COLUMNS} == columns_of_file(file)
        assert indexes == {
            name: [QUOTED.get(column, column) for column in columns]
            for name, columns in indexes_of_file(file).items()
        }
    assert found.keys() >= OWN_COLUMNS


def test_an_earlier_format_is_brought_up_to_date_and_keeps_its_rows(
    address: Address, conn: psycopg.Connection[Any]
) -> None:
    prepare(conn, address)
    conn.execute("INSERT INTO memory VALUES ('x', 'y')")
    last = max(migrations())
    later = {
        **migrations(),
        last + 1: "ALTER TABLE facts ADD COLUMN more text; CREATE TABLE other (id bigint);",
        last + 2: "INSERT INTO other VALUES (7)",
    }
    prepare(conn, address, later)
    prepare(conn, address, later)

    assert version_of(conn, address.ledger_schema) == last + 2
    assert conn.execute("SELECT id FROM other").fetchall() == [(7,)]
    assert conn.execute("SELECT name FROM memory").fetchall() == [("x",)]


async def test_a_ledger_is_not_changed_beneath_a_run(
    address: Address, conn: psycopg.Connection[Any]
) -> None:
    ledger = open_ledger(str(address))
    await ledger.acquire(make_holder())
    last = max(migrations())
    later = {**migrations(), last + 1: "CREATE TABLE other (id bigint)"}
    with pytest.raises(LedgerLocked, match="a run of an earlier version works on it"):
        prepare(conn, address, later)
    await ledger.close()
    prepare(conn, address, later)
    assert version_of(conn, address.ledger_schema) == last + 1


def test_a_migration_that_fails_changes_nothing(
    address: Address, conn: psycopg.Connection[Any]
) -> None:
    prepare(conn, address)
    last = max(migrations())
    broken = {**migrations(), last + 1: "CREATE TABLE other (id bigint); SELECT 1 / 0"}
    with pytest.raises(psycopg.Error):
        prepare(conn, address, broken)

    assert version_of(conn, address.ledger_schema) == last
    assert conn.execute("SELECT to_regclass('other')").fetchone() == (None,)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_later_format_is_refused(
    postgres: PostgresServer, address: Address, conn: psycopg.Connection[Any], read_only: bool
) -> None:
    prepare(conn, address)
    conn.execute("UPDATE facts SET value = 99 WHERE name = 'format'")

    with pytest.raises(LedgerError, match=r"format 99; this version .* reads format \d"):
        open_ledger(str(address), read_only=read_only)


def test_tables_of_another_program_are_refused(postgres: PostgresServer, address: Address) -> None:
    with postgres.connect() as admin:
        admin.execute(f'CREATE SCHEMA "{address.ledger_schema}"')
        admin.execute(f'CREATE TABLE "{address.ledger_schema}".customers (id int)')
    with pytest.raises(LedgerCorrupt, match="tables of another program"):
        open_ledger(str(address))


async def test_a_user_without_the_right_reads_what_to_ask_for(
    postgres: PostgresServer, address: Address
) -> None:
    with postgres.connect() as admin:
        admin.execute("CREATE ROLE guest LOGIN")
    guest = str(address).replace("tester@", "guest@")
    wanted = f'CREATE SCHEMA "{address.ledger_schema}" AUTHORIZATION "guest"'
    with pytest.raises(LedgerError, match="guest may not make schemas") as raised:
        open_ledger(guest)
    assert str(raised.value).endswith(wanted)

    with postgres.connect() as admin:
        admin.execute(wanted)
    ledger = open_ledger(guest)
    await ledger.acquire(make_holder())
    await ledger.close()

    with postgres.connect() as admin:
        admin.execute(f'ALTER TABLE "{address.ledger_schema}".facts OWNER TO tester')
    with pytest.raises(LedgerError, match="may not be used by this user"):
        open_ledger(guest)


async def test_hosts_that_open_a_new_ledger_at_one_moment_make_it_once(
    postgres: PostgresServer,
) -> None:
    url = postgres.url(name="new")
    opened = await asyncio.gather(*(asyncio.to_thread(open_ledger, url) for _ in range(6)))
    for ledger in opened:
        assert await ledger.last_run() is None
        await ledger.close()


async def test_a_missing_ledger_reads_as_an_empty_one_and_nothing_is_made(
    postgres: PostgresServer, address: Address
) -> None:
    ledger = open_ledger(str(address), read_only=True)
    assert await ledger.last_run() is None
    assert await ledger.holder() is None
    await ledger.close()

    with postgres.connect() as admin:
        query = "SELECT count(*) FROM pg_namespace WHERE nspname = %s"
        assert admin.execute(query, [address.ledger_schema]).fetchone() == (0,)
