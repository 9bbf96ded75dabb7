"""The schema of a ledger: made and brought up to date by numbered files in ``migrations``."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from orchestrator.errors import LedgerCorrupt, LedgerError, LedgerLocked

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from orchestrator.postgresql import Address

_INSUFFICIENT_PRIVILEGE = "42501"
_IS_LEASED = (
    "SELECT 1 FROM lease WHERE token <> ''"
    " AND expires_at >= extract(epoch FROM clock_timestamp()) * 1000000 FOR UPDATE"
)


def migrations() -> dict[int, str]:
    """Return the statements of all migrations by number."""
    folder = files(__package__).joinpath("migrations")
    return {
        int(found[1]): path.read_text("utf-8")
        for path in sorted(folder.iterdir(), key=lambda path: path.name)
        if (found := re.fullmatch(r"(\d{4})_\w+\.sql", path.name))
    }


def version_of(conn: psycopg.Connection[Any], schema: str) -> int | None:
    """Return the number of the last migration of a ledger; None if there is no ledger.

    Raises:
        LedgerCorrupt: Another program has tables in its place.
    """
    found = conn.execute(
        "SELECT to_regclass(format('%%I.facts', %s::text)) IS NOT NULL,"
        " (SELECT count(*) FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = %s AND relkind IN ('r', 'v'))",
        [schema, schema],
    ).fetchone()
    has_facts, tables = found or (False, 0)
    if not has_facts:
        if tables:
            raise LedgerCorrupt(
                f'The schema "{schema}" has tables of another program. '
                "Name another one with schema= in the address of the ledger."
            )
        return None
    row = conn.execute("SELECT value FROM facts WHERE name = 'format'").fetchone()
    return int(row[0]) if row else 0


def prepare(
    conn: psycopg.Connection[Any], address: Address, known: Mapping[int, str] | None = None
) -> None:
    """Make the schema and its tables, or bring them up to date, in one transaction.

    Raises:
        LedgerError: The user may not make it.
        LedgerCorrupt: It is of a later version of orchestrator, or of another program.
    """
    known = migrations() if known is None else known
    schema, last = address.ledger_schema, max(known)
    if version_of(conn, schema) == last:
        return
    with conn.transaction():
        # Two hosts may open a new ledger at the same moment.
        conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [schema])
        _make_schema(conn, address)
        found = version_of(conn, schema) or 0
        if found > last:
            raise LedgerCorrupt(wrong_version(address, found, last))
        if found and conn.execute(_IS_LEASED).fetchone():
            raise LedgerLocked(
                f"The ledger {address} must be brought up to date, and a run of an earlier version "
                "works on it. Run again when that has ended."
            )
        for number in sorted(known):
            if number > found:
                conn.execute(known[number])
        conn.execute(
            "INSERT INTO facts (name, value) VALUES ('format', %s)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [last],
        )


def wrong_version(address: Address, found: int, last: int) -> str:
    """Return the message about a ledger of another version."""
    advice = (
        "Use the version of orchestrator that wrote it, or start a new ledger with name= in its "
        "address."
        if found > last
        else "The next run brings it up to date."
    )
    return (
        f"The ledger {address} has format {found}; this version of orchestrator reads format "
        f"{last}. {advice}"
    )


def _make_schema(conn: psycopg.Connection[Any], address: Address) -> None:
    from psycopg import Error

    schema = address.ledger_schema
    row = conn.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema]).fetchone()
    if row is not None:
        return
    try:
        with conn.transaction():
            conn.execute(f'CREATE SCHEMA "{schema}"')
    except Error as error:
        if error.sqlstate != _INSUFFICIENT_PRIVILEGE:
            raise
        user = conn.info.user
        wanted = f'CREATE SCHEMA "{schema}" AUTHORIZATION "{user}"'
        raise LedgerError(
            f"The ledger {address} cannot be made: {user} may not make schemas in the database "
            f"{conn.info.dbname}. Ask its owner for: {wanted}"
        ) from error
