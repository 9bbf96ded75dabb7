"""The lease of a ledger; for a file, a lock beside it, which ends with the process."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from orchestrator.domain.run import Holder
from orchestrator.durable import FileLock
from orchestrator.errors import LedgerError

if TYPE_CHECKING:
    from orchestrator.ledger.unit_of_work import UnitOfWork

_TRIES = 5


class Lease(Protocol):
    """Keeps other runs out of a ledger. Its methods with a unit of work run in a transaction."""

    @property
    def is_held(self) -> bool:
        """True if this process holds the lease, as far as it knows."""
        ...

    @property
    def is_sure(self) -> bool:
        """True if no other process can have taken the lease by now."""
        ...

    def take(self, unit: UnitOfWork, holder: Holder) -> bool:
        """Take the lease; return False if another process holds it."""
        ...

    def renew(self, unit: UnitOfWork, now: float) -> bool:
        """Show that the holder is alive; return False if the lease was lost."""
        ...

    def holder(self, unit: UnitOfWork) -> Holder | None:
        """Return the live holder, or None."""
        ...

    def give_back(self, unit: UnitOfWork) -> None:
        """Show that the lease is free; :meth:`release` follows once that is committed."""
        ...

    def release(self) -> None:
        """Give the lease back, if it is held, after the database was closed."""
        ...


class FileLease:
    """The lease of a ledger file: a lock beside it. A row in it says who has it.

    Args:
        lock: The lock.
    """

    def __init__(self, lock: LedgerLock) -> None:
        self._lock = lock
        self._token = secrets.token_hex(8)

    @property
    def is_held(self) -> bool:
        """See :class:`Lease`."""
        return self._lock.is_held

    @property
    def is_sure(self) -> bool:
        """Always true of a lock that ends with the process; intents notice that it was removed."""
        return True

    def take(self, unit: UnitOfWork, holder: Holder) -> bool:
        """See :class:`Lease`."""
        if not self._lock.is_held and not self._lock.acquire():
            return False
        unit.db.change(
            "note_holder",
            token=self._token,
            host=holder.host,
            pid=holder.pid,
            since=round(holder.since * 1_000_000),
            command=holder.command,
        )
        return True

    def renew(self, unit: UnitOfWork, now: float) -> bool:
        """See :class:`Lease`."""
        if not self._lock.is_held:
            return False
        seen_at = round(now * 1_000_000)
        return unit.db.change("note_heartbeat", token=self._token, seen_at=seen_at) == 1

    def holder(self, unit: UnitOfWork) -> Holder | None:
        """See :class:`Lease`."""
        if not self._lock.is_held and self._lock.is_free():
            return None
        for host, pid, since, command in unit.db.read("noted_holder"):
            return Holder(host, pid, since / 1_000_000, command)
        return None

    def give_back(self, unit: UnitOfWork) -> None:
        """See :class:`Lease`."""
        unit.db.change("forget_holder", token=self._token)

    def release(self) -> None:
        """See :class:`Lease`."""
        self._lock.release()


class LedgerLock(FileLock):
    """The lease of a ledger file, which several processes of one machine may open."""

    def acquire(self, tries: int = _TRIES) -> bool:
        """Take the lease; return False if another process holds it.

        Raises:
            LedgerError: The lock file cannot be opened or locked.
        """
        try:
            return super().acquire(tries)
        except OSError as error:
            raise LedgerError(
                f"The lock file {self.path} cannot be opened: {error.strerror}. "
                "Make its folder writable, or choose another ledger with --ledger."
            ) from error

    def release(self, *, removes: bool = True) -> None:
        """Give the lease back, if it is held, and remove the lock file."""
        super().release(removes=removes)


def lost_message(ledger: str) -> str:
    """Return the message for a run whose lease was lost."""
    return (
        f"The lease of the ledger {ledger} was lost: it was not renewed in time, or its lock was "
        "removed, and another run took it. `orchestrator status` shows its progress."
    )


def locked_message(ledger: str, other: Holder | None) -> str:
    """Return the message for a run that finds the ledger in use: by whom, and what to do."""
    return (
        f"{in_use(ledger, other)} Wait until it ends or stop it, then run again; "
        "`orchestrator status` shows its progress."
    )


def in_use(ledger: str, other: Holder | None) -> str:
    """Say who works on a ledger."""
    if other is None:
        return f"Another process works on the ledger {ledger}."
    since = datetime.fromtimestamp(other.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    command = f" ({other.command})" if other.command else ""
    return (
        f"Process {other.pid} on {other.host}{command} has been working on the ledger {ledger} "
        f"since {since}."
    )
