"""One connection at a time: statements that need no answer wait, and leave together.

A statement that only changes rows is sent with the next one whose answer is needed, or with the
commit. So a group of saves and intents is one message to the server, plus the commit, and the
distance to the server counts twice per group, not once per statement.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import psycopg

    from orchestrator.ledger.named_queries import Row

_MARK = "\x01"
_ESCAPED = re.compile("\x01([12])")
_MEANINGS = {"1": "\x01", "2": "\0"}

Waiting = tuple[str, "dict[str, Any]", "Callable[[int], None] | None"]
"""A statement, its values, and what to do with the number of rows that it changed."""


class PostgresDatabase:
    """A database (``named_queries.Database``) whose connection can be replaced.

    Args:
        queries: The statements, by name.
    """

    def __init__(self, queries: Mapping[str, str]) -> None:
        self._queries = queries
        self._waiting: list[Waiting] = []
        self._conn: psycopg.Connection[Any] | None = None

    # --- the connection

    def attach(self, conn: psycopg.Connection[Any]) -> None:
        """Use this connection from now on."""
        self.detach()
        self._conn = conn

    def detach(self) -> None:
        """Close the connection, if there is one; what waits is forgotten."""
        self._waiting.clear()
        if self._conn is not None:
            self._conn.close()
        self._conn = None

    @property
    def is_attached(self) -> bool:
        """True if there is a connection, which may be lost."""
        return self._conn is not None

    @property
    def conn(self) -> psycopg.Connection[Any]:
        """The connection of the driver."""
        assert self._conn is not None  # noqa: S101 - attached while the ledger is open
        return self._conn

    # --- statements

    def queue(
        self, sql: str, values: dict[str, Any], check: Callable[[int], None] | None = None
    ) -> None:
        """Run a statement with the next one whose answer is needed."""
        self._waiting.append((sql, values, check))

    def forget(self) -> None:
        """Drop the statements that wait."""
        self._waiting.clear()

    def flush(self) -> None:
        """Run what waits."""
        self._run(None)

    def read(self, name: str, **values: int | str | Collection[Any]) -> list[Any]:
        """See ``named_queries.Database``."""
        [(text,)] = self._run((self._queries[name], _sent(values), None)).fetchall()
        answer: list[Any] = orjson.loads(text)
        return _unescaped(answer) if "\\u0001" in text else answer

    def change(self, name: str, **values: int | str | bytes) -> int:
        """See ``named_queries.Database``."""
        count: int = self._run((self._queries[name], _sent(values), None)).rowcount
        return count

    def write(self, name: str, rows: Collection[Row], failed: Callable[[], Exception]) -> None:
        """See ``named_queries.Database``."""
        if rows:
            text = orjson.dumps(list(rows)).decode()
            if "\\u000" in text:  # a NUL or the mark, perhaps
                text = orjson.dumps([[_escaped(value) for value in row] for row in rows]).decode()
            self._expect(len(rows), name, failed, {"rows": text})

    def expect_one(self, name: str, failed: Callable[[], Exception], **values: int | str) -> None:
        """See ``named_queries.Database``."""
        self._expect(1, name, failed, _sent(values))

    def _expect(
        self, count: int, name: str, failed: Callable[[], Exception], values: dict[str, Any]
    ) -> None:
        def check(changed: int) -> None:
            if changed != count:
                raise failed()

        self.queue(self._queries[name], values, check)

    def _run(self, last: Waiting | None) -> psycopg.Cursor[Any]:
        """Run what waits, and ``last``; return the cursor of the last one."""
        waiting = [*self._waiting, last] if last is not None else self._waiting
        self._waiting = []
        conn = self.conn
        if len(waiting) > 1:
            with conn.pipeline():
                cursors = [conn.execute(sql, values) for sql, values, _ in waiting]
        else:
            cursors = [conn.execute(sql, values) for sql, values, _ in waiting]
        for cursor, (_, _, check) in zip(cursors, waiting, strict=True):
            if check is not None:
                check(cursor.rowcount)
        return cursors[-1] if cursors else conn.cursor()


def _sent(values: Mapping[str, int | str | bytes | Collection[Any]]) -> dict[str, Any]:
    """Return values as the driver takes them: collections as JSON."""
    return {
        key: _escaped(value)
        if isinstance(value, int | str | bytes)
        else orjson.dumps([_escaped_deep(item) for item in value]).decode()
        for key, value in values.items()
    }


def _escaped_deep(item: Any) -> Any:
    if isinstance(item, tuple | list):
        return [_escaped_deep(one) for one in item]
    return _escaped(item)


def _escaped(value: Any) -> Any:
    """Return a text without NUL, which PostgreSQL cannot store; see :func:`_unescaped`."""
    if isinstance(value, str) and ("\0" in value or _MARK in value):
        return value.replace(_MARK, f"{_MARK}1").replace("\0", f"{_MARK}2")
    return value


def _unescaped(answer: list[Any]) -> list[Any]:
    """Return an answer with its NULs. What lies deeper is JSON of its own, and was not escaped."""
    return [
        [_plain(value) for value in row] if isinstance(row, list) else _plain(row) for row in answer
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _ESCAPED.sub(lambda found: _MEANINGS[found[1]], value)
    return value
