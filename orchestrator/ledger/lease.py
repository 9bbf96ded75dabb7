"""The lease of a ledger file: a lock on a file beside it, which ends with the process."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from orchestrator.durable import FileLock
from orchestrator.errors import LedgerError

if TYPE_CHECKING:
    from orchestrator.domain.run import Holder

_TRIES = 5


class Lease(Protocol):
    """Keeps other runs out of a ledger."""

    @property
    def is_held(self) -> bool:
        """True if this process holds the lease."""
        ...

    def acquire(self) -> bool:
        """Take the lease; return False if another process holds it."""
        ...

    def is_free(self) -> bool:
        """Return True if no process holds the lease."""
        ...

    def release(self) -> None:
        """Give the lease back, if it is held."""
        ...


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


def locked_message(ledger: str, other: Holder | None) -> str:
    """Return the message for a run that finds the ledger in use: by whom, and what to do."""
    advice = (
        "Wait until it ends or stop it, then run again; `orchestrator status` shows its progress."
    )
    if other is None:
        return f"Another process works on the ledger {ledger}. {advice}"
    since = datetime.fromtimestamp(other.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    command = f" ({other.command})" if other.command else ""
    return (
        f"Process {other.pid} on {other.host}{command} has been working on the ledger {ledger} "
        f"since {since}. {advice}"
    )
