"""The lease of a ledger in PostgreSQL: a row that its holder renews with every transaction.

Instants are of the server's clock, so the clocks of hosts may differ. The holder judges by the time
since its last renewal *began* on its own clock, and stops to send somewhat earlier than the server
would let another host take over.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from orchestrator.domain.run import Holder

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.ledger.postgres.database import PostgresDatabase
    from orchestrator.ledger.unit_of_work import UnitOfWork

_SURE = 0.8
"""Part of the lease for which its holder sends. The rest covers clocks of different speeds, and the
moment between the last look at the clock and the write."""


class RowLease:
    """The lease (``lease.Lease``); the store counts its transactions.

    Args:
        db: The database.
        lease_s: Time after which another process may take over.
        clock: Returns seconds that never go back, with those for which the machine slept.
    """

    def __init__(self, db: PostgresDatabase, lease_s: float, clock: Callable[[], float]) -> None:
        self._db = db
        self._lease_s = lease_s
        self._clock = clock
        self.token = secrets.token_hex(8)
        self.commits = 0
        """Number of the last transaction that was committed; 0: the lease is not held."""
        self._next = 0
        self._began_at = 0.0
        self._sure_until = 0.0
        self._is_lost = False

    # --- a transaction of the store

    def begin(self, failed: Callable[[], Exception], *, writes: bool) -> None:
        """Renew the lease first in a transaction that writes; ``failed`` if it was lost."""
        self._next = self.commits
        if not writes:
            return
        if self._is_lost:
            raise failed()
        self._began_at = self._clock()
        if self.is_held:
            self._next += 1
            self._db.expect_one("keep_lease", failed, **self._values())

    def done(self) -> None:
        """Note that the transaction was committed."""
        if self._next != self.commits:
            self._sure_until = self._began_at + _SURE * self._lease_s
        self.commits = self._next

    def was_committed(self) -> bool | None:
        """Read back, on a new connection, what became of the last transaction.

        None: what is there is neither the state before it nor the one after it, because another
        process took the lease, or because the server lost what it had acknowledged.
        """
        token, commits = self._db.read("read_back")
        is_ours = token == self.token
        if is_ours and commits == self._next:
            return True
        return False if not self.commits or (is_ours and commits == self.commits) else None

    def lose(self) -> None:
        """Note that another process has taken the lease: nothing is written any more."""
        self.release()
        self._is_lost = True

    def _values(self) -> dict[str, int | str]:
        lease = round(self._lease_s * 1_000_000)
        return {"token": self.token, "commits": self._next, "lease": lease}

    # --- as every lease

    @property
    def is_held(self) -> bool:
        """See ``lease.Lease``."""
        return self.commits > 0

    @property
    def is_sure(self) -> bool:
        """See ``lease.Lease``."""
        return self.is_held and self._clock() < self._sure_until

    def take(self, unit: UnitOfWork, holder: Holder) -> bool:
        """See ``lease.Lease``."""
        self._next = self._next or 1
        since = round(holder.since * 1_000_000)
        values = {**self._values(), "host": holder.host, "pid": holder.pid, "since": since}
        return unit.db.change("take_lease", **values, command=holder.command) == 1

    def renew(self, unit: UnitOfWork, now: float) -> bool:  # noqa: ARG002 - see the module
        """Return True if the lease is held: every transaction renews it at its begin."""
        return self.is_held

    def holder(self, unit: UnitOfWork) -> Holder | None:
        """See ``lease.Lease``."""
        if not self._db.is_attached:  # there is no ledger yet
            return None
        for host, pid, since, command in unit.db.read("read_lease", token=self.token):
            return Holder(host, pid, since / 1_000_000, command)
        return None

    def give_back(self, unit: UnitOfWork) -> None:
        """See ``lease.Lease``."""
        unit.db.change("give_lease_back", token=self.token)
        self._next = 0

    def release(self) -> None:
        """Forget the lease; if it could not be given back, it ends by itself."""
        self.commits = 0
        self._sure_until = 0.0
