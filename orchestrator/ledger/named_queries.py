"""Named queries: the SQL of one database, kept in a readable file of its own (``sqlite.sql``)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sqlalchemy import Connection

_NAME = "-- name:"

Row = tuple[int | str | None, ...]


def load(file: str) -> dict[str, str]:
    """Return the statements of a file of this package, by name and without comments."""
    lines: dict[str, list[str]] = {}
    name = ""
    for line in files(__package__).joinpath(file).read_text("utf-8").splitlines():
        if line.startswith(_NAME):
            name = line.removeprefix(_NAME).strip()
            lines[name] = []
        elif name and line and not line.startswith("--"):
            lines[name].append(line)
    return {name: "\n".join(text) for name, text in lines.items()}


@dataclass(frozen=True, slots=True)
class Database:
    """An open database.

    Attributes:
        conn: Runs the plain statements that SQLAlchemy builds.
        queries: The statements about jobs, by name, in the words of this database.
    """

    conn: Connection
    queries: Mapping[str, str]

    def read(self, name: str, **values: int | str | Collection[Any]) -> list[Any]:
        """Return the answer of a query, which is one JSON text. Collections go in as JSON, too."""
        sent = {
            key: value if isinstance(value, int | str) else orjson.dumps(list(value)).decode()
            for key, value in values.items()
        }
        answer: list[Any] = orjson.loads(
            self.conn.exec_driver_sql(self.queries[name], sent).scalar_one()
        )
        return answer

    def change(self, name: str, **values: int | str) -> int:
        """Run a statement; return how many rows it changed."""
        return self.conn.exec_driver_sql(self.queries[name], values).rowcount

    def write(self, name: str, rows: Collection[Row]) -> int:
        """Run a statement for all ``rows`` in one step; return how many rows it changed."""
        if not rows:
            return 0
        text, nul = orjson.dumps(list(rows)).decode(), ""
        if "\\u0000" in text:  # a NUL, or the end of an escaped one
            nul = next(mark for mark in map(chr, range(0xE000, 0xF900)) if mark not in text)
            text = orjson.dumps([[_replaced(value, nul) for value in row] for row in rows]).decode()
        return self.change(name, rows=text, nul=nul)


def _replaced(value: int | str | None, nul: str) -> int | str | None:
    return value.replace("\0", nul) if isinstance(value, str) else value
