"""The connection below an open ledger, for tests that look at the database itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from orchestrator.ledger.unit_of_work import UnitOfWork


def connection(unit: UnitOfWork) -> Any:
    """Return the connection of ``sqlite3`` or ``psycopg``."""
    return cast("Any", unit.db).conn
