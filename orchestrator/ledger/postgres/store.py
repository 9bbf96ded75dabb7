"""PostgreSQL as a store: transactions, lost connections, unclear commits.

A connection may be lost at any moment. What was not committed then is undone by the server, and the
work runs again on a new connection. If the connection is lost while a commit is awaited, the commit
is *unclear*: the row of the lease, which every transaction of the holder changes, is read back. The
server is asked to end the old session first, and the row is read under a lock, so that what is read
is final.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orchestrator.domain.clock import since_boot
from orchestrator.errors import LedgerError, LedgerLocked, OrchestratorError
from orchestrator.ledger.group_commit import Recovery
from orchestrator.ledger.lease import lost_message
from orchestrator.ledger.named_queries import load
from orchestrator.ledger.postgres.database import PostgresDatabase
from orchestrator.ledger.postgres.lease import RowLease
from orchestrator.ledger.postgres.schema import migrations, prepare, version_of, wrong_version
from orchestrator.ledger.unit_of_work import UnitOfWork
from orchestrator.postgresql import cause_of, connect, driver, explained, is_lost, place_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from orchestrator.postgresql import Address

_PATIENCE_S = 60.0
"""Time for which a lost server is tried again: it may start again, or a standby take its place."""
_SLOW_S = 2.0
"""Time after which a transaction that is not answered is worth a word."""
_PAUSES_S = 0.1, 0.2, 0.5, 1.0
_MOST_AGAIN = 3
"""Times that a transaction is run again without a success in between."""
_CONFLICTS = frozenset({"40001", "40P01"})
_BEGIN_READING = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class NoLedger(LedgerError):
    """There is no ledger yet, and this process only reads."""


class PostgresStore:
    """A ledger in PostgreSQL (``group_commit.Store``).

    Args:
        address: The database, and the name of the ledger.
        read_only: Change nothing.
        patience_s: Time for which a lost server is tried again.
        clock: Returns seconds that never go back, with those for which the machine slept.
    """

    def __init__(
        self,
        address: Address,
        *,
        read_only: bool = False,
        patience_s: float = _PATIENCE_S,
        clock: Callable[[], float] = since_boot,
    ) -> None:
        driver()  # or an error that says how to install it
        self._address = address
        self._is_read_only = read_only
        self._patience_s = patience_s
        self._clock = clock
        self._db = PostgresDatabase(load("statements.sql", __package__))
        self.lease = RowLease(self._db, address.lease_s, clock)
        self._session = 0, ""  # process id and start of the server's side
        self._is_committing = False
        self._unclear: OrchestratorError | None = None  # after it nothing can be believed
        self._again = 0
        self._lost = ""  # why the server is tried again
        self._pending_since: float | None = None  # when the present transaction began

    # --- opening

    def open(self) -> UnitOfWork:
        """Connect; make or check the schema.

        Raises:
            NoLedger: There is none, and it is only to be read.
            OrchestratorError: See :meth:`explain`.
        """
        try:
            self._db.attach(self._connect())
            if self._is_read_only:
                self._check_version()
            else:
                prepare(self._db.conn, self._address)
        except Exception as error:
            self._db.detach()
            raise self.explain(error) from error
        return UnitOfWork(self._db)

    def _check_version(self) -> None:
        found, last = version_of(self._db.conn, self._address.ledger_schema), max(migrations())
        if found is None:
            raise NoLedger(f"There is no ledger {self._address} yet.")
        if found != last:
            raise LedgerError(wrong_version(self._address, found, last))

    def _connect(self) -> psycopg.Connection[Any]:
        conn = connect(
            self._address,
            self._address.ledger_schema,
            read_only=self._is_read_only,
            # A holder that was stopped in a transaction must not lock out its successor.
            idle_s=self._address.lease_s / 2,
        )
        [started] = conn.execute(
            "SELECT backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).fetchone() or [""]
        self._session = conn.info.backend_pid, started
        return conn

    @property
    def idle_s(self) -> float | None:
        """Renew the lease four times before it ends, whatever the run is doing."""
        return self._address.lease_s / 4 if self.lease.is_held else None

    @property
    def trouble(self) -> str:
        """See ``group_commit.Store``: a server that is lost, or that does not answer."""
        if self._lost:
            return self._lost
        since = self._pending_since
        if since is None or self._clock() - since < _SLOW_S:
            return ""
        return f"the server has not answered for {self._clock() - since:.0f} s"

    # --- transactions

    def begin(self, unit: UnitOfWork, *, writes: bool) -> None:  # noqa: ARG002 - as every store
        """Begin a transaction; one that writes renews the lease."""
        if self._unclear is not None:
            raise self._unclear
        self._pending_since = self._clock()
        if not self._db.is_attached:  # the server did not come back in time for the last one
            self._db.attach(self._connect())
        if writes and self._is_read_only:
            raise LedgerError(f"The ledger {self._address} is opened for reading only.")
        self._db.queue("BEGIN" if writes else _BEGIN_READING, {})
        self.lease.begin(self._lost_lease, writes=writes)

    def commit(self, unit: UnitOfWork) -> None:  # noqa: ARG002 - as every store
        """Commit; the server has synced it afterwards."""
        self._db.flush()
        self._is_committing = True
        self._db.conn.execute("COMMIT")
        self._is_committing = False
        self._again = 0
        self._pending_since = None
        self.lease.done()

    def rollback(self, unit: UnitOfWork) -> None:  # noqa: ARG002 - as every store
        """Roll back, unless the connection is lost: then the server does."""
        self._pending_since = None
        self._db.forget()
        if self._db.is_attached:
            with suppress(driver().Error):
                self._db.conn.rollback()

    def close(self, unit: UnitOfWork) -> None:  # noqa: ARG002 - as every store
        """Disconnect."""
        self._db.detach()

    # --- failures

    def recover(self, unit: UnitOfWork, error: Exception) -> Recovery:  # noqa: ARG002 - as others
        """Connect again after a lost connection, and find out what became of the transaction."""
        was_committing, self._is_committing = self._is_committing, False
        is_again = self._again < _MOST_AGAIN
        self._again += 1
        if getattr(error, "sqlstate", None) in _CONFLICTS and is_again:
            return Recovery.AGAIN
        if self._is_read_only or not is_lost(error):
            return Recovery.REPORT
        self._db.detach()
        try:
            self._reconnect()
            was_committed = self.lease.was_committed()
        except Exception as failure:
            self._db.detach()
            explained = self.explain(failure)
            if was_committing:
                self._unclear = explained
            raise explained from failure
        if was_committed is None:
            raise self._overtaken()
        if was_committed and was_committing:
            self.lease.done()
            return Recovery.COMMITTED
        return Recovery.AGAIN if is_again else Recovery.REPORT

    def _reconnect(self) -> None:
        """Connect again, as long as patience lasts, and have the server end the old session."""
        old, until, pauses = self._session, self._clock() + self._patience_s, iter(_PAUSES_S)
        pause_s = 0.0
        self._lost = f"the connection to {place_of(self._address)} was lost"
        while True:
            try:
                self._db.attach(self._connect())
                self._db.read("end_session", pid=old[0], started=old[1])
            except Exception as error:
                if not is_lost(error) or self._clock() >= until:
                    self._patience_s = 0.0  # what follows is the end of the run
                    self._lost = ""
                    raise
                self._lost = cause_of(self._address, error)
            else:
                self._lost = ""
                return
            pause_s = next(pauses, pause_s)
            threading.Event().wait(pause_s)

    def _overtaken(self) -> LedgerError:
        """Return the error about a ledger that is not as this process left it."""
        [[token, commits]] = [self._db.read("read_back")]
        if token != self.lease.token:
            return self._lost_lease()
        self._unclear = LedgerError(
            f"The server of the ledger {self._address} lost what it had confirmed (transaction "
            f"{self.lease.commits}; it has {commits}): perhaps a standby took over that was "
            "behind. Nothing more is sent. Run again: jobs that the ledger no longer knows are "
            "found at the service."
        )
        return self._unclear

    def _lost_lease(self) -> LedgerLocked:
        self.lease.lose()
        return LedgerLocked(lost_message(str(self._address)))

    def explain(self, error: Exception) -> OrchestratorError:
        """Return the error that says what went wrong, and what the user can do."""
        if isinstance(error, OrchestratorError):
            return error
        found = explained(self._address, error)
        found.__cause__ = error
        return found
