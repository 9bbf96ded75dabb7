"""The shared limits of an account in PostgreSQL, for processes on several hosts.

The state is one row with a version. A member reads it together with the server's clock, makes the
next state, and writes it if the version is still the same: nothing is locked while a message is on
its way. Instants are of the server's clock, which is the only one that all members see.

A member shows that it exists by a lock that its session holds. The server ends that lock with the
session: at once if the process dies, after some seconds if its host vanishes.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import orjson

from orchestrator.client.limits.shelf import Moment, Rhythm, ShelfBusy
from orchestrator.postgresql import cause_of, connect, driver

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from orchestrator.client.limits.shelf import Act
    from orchestrator.postgresql import Address

RHYTHM: Final = Rhythm(beat_s=0.25, lease_s=2.0, is_remote=True)
"""Slower than on one machine: an exchange costs two messages and a commit."""
_FORMAT = "orchestrator.limits/1"  # content of the row
_TRIES = 3  # if another member was faster
_STATEMENT_TIMEOUT_MS = 2000  # later answers are of no use: the lease has ended
_ABSENT = frozenset({"42P01", "3F000"})
_TABLE = """
    CREATE TABLE IF NOT EXISTS limits (
        name    text COLLATE "C" PRIMARY KEY,
        version bigint NOT NULL,
        content text NOT NULL
    )"""
_READ = """
    SELECT version, content, extract(epoch FROM clock_timestamp())::float8
      FROM (SELECT %(name)s AS name) AS wanted
      LEFT JOIN limits USING (name)"""
_INSERT = "INSERT INTO limits VALUES (%(name)s, 1, %(content)s) ON CONFLICT DO NOTHING"
_UPDATE = """
    UPDATE limits
       SET version = version + 1, content = %(content)s
     WHERE name = %(name)s AND version = %(version)s"""
_IS_ALIVE = """
    SELECT EXISTS (SELECT 1
                     FROM pg_locks
                    WHERE locktype = 'advisory' AND granted
                      AND (classid::bigint << 32) + objid::bigint = %(key)s
                      AND database = (SELECT oid FROM pg_database
                                       WHERE datname = current_database()))"""


class PostgresShelf:
    """The state in a row of the table ``limits`` (``shelf.Shelf``).

    Args:
        address: The database; the schema is the one that its ledgers share.
        account: Names the account; only its hash is written.
        member: Id of this member, a hexadecimal number of at most 12 digits.
        clock: Returns this machine's monotonic time.
    """

    def __init__(
        self, address: Address, account: str, member: str, clock: Callable[[], float]
    ) -> None:
        self._address = address
        self._name = hashlib.sha256(f"{_FORMAT}\n{account}".encode()).hexdigest()[:24]
        self._key = int(member, 16)
        self._clock = clock
        self._conn: psycopg.Connection[Any] | None = None
        self._seen: set[str] = set()

    def join(self) -> None:
        """See ``Shelf``; connects, or connects again."""
        if self._conn is not None and not self._conn.broken:
            return
        self.leave()
        try:
            self._conn = connect(self._address, self._address.schema)
            self._conn.execute("SELECT set_config(%s, %s, false)", _TIMEOUT)
            self._make()
            self._conn.execute("SELECT pg_advisory_lock(%s)", [self._key])
        except driver().Error as error:
            self.leave()
            raise OSError(None, cause_of(self._address, error)) from error

    def leave(self) -> None:
        """See ``Shelf``."""
        if self._conn is not None:
            with suppress(driver().Error):
                self._conn.close()
            self._conn = None

    def is_alive(self, member: str) -> bool:
        """See ``Shelf``."""
        row = self._joined.execute(_IS_ALIVE, {"key": int(member, 16)}).fetchone()
        return bool(row and row[0])

    def traces(self) -> list[str]:
        """Return the members that were seen last; the row is lost only together with its table."""
        return list(self._seen)

    def change(self, act: Act) -> None:
        """See ``Shelf``.

        Raises:
            ShelfBusy: Other members were faster, again and again.
            OSError: The database cannot be reached or changed.
        """
        try:
            for _ in range(_TRIES):
                if self._try(act):
                    return
        except driver().Error as error:
            raise OSError(None, cause_of(self._address, error)) from error
        raise ShelfBusy

    def _try(self, act: Act) -> bool:
        before = self._clock()
        row = self._joined.execute(_READ, {"name": self._name}).fetchone()
        version, text, at = row or (None, None, 0.0)
        state = act(orjson.loads(text) if text else None, Moment(at, before, self._clock()))
        self._seen = set(state["members"])
        values = {"name": self._name, "version": version, "content": orjson.dumps(state).decode()}
        return self._joined.execute(_UPDATE if version else _INSERT, values).rowcount == 1

    @property
    def _joined(self) -> psycopg.Connection[Any]:
        if self._conn is None:
            raise OSError(None, "not connected")
        return self._conn

    def _make(self) -> None:
        """Make the table, and the schema that it is in, if they are missing."""
        conn = self._joined
        try:
            conn.execute(_READ, {"name": ""})
        except driver().Error as error:
            if error.sqlstate not in _ABSENT:
                raise
        else:
            return
        schema = self._address.schema
        with conn.transaction():
            conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [schema])
            found = conn.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema])
            if found.fetchone() is None:
                conn.execute(f'CREATE SCHEMA "{schema}"')
            conn.execute(_TABLE)


_TIMEOUT: Final = ["statement_timeout", str(_STATEMENT_TIMEOUT_MS)]
