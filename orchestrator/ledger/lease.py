"""Who may work on a ledger file: a lock on a file beside it, which ends with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orchestrator.errors import LedgerError

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.domain.run import Holder

_TRIES = 5
_PAUSE_S = 0.02
"""One who only asks whether the lock is held takes it for an instant; who wants it for good tries for longer than that."""


def locked_message(ledger: str, other: Holder | None) -> str:
    """What the one who came second is told: who is first, and what to do."""
    wait = (
        "Wait until it ends or stop it, then run again; `orchestrator status` shows how far it is."
    )
    if other is None:
        return f"Another process works on the ledger {ledger}. {wait}"
    since = datetime.fromtimestamp(other.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    command = f" ({other.command})" if other.command else ""
    return f"Process {other.pid} on {other.host}{command} has been working on the ledger {ledger} since {since}. {wait}"


class FileLock:
    """An advisory lock (``flock``) on ``path``, held by at most one process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock, and on the file that others see."""
        return self._file is not None and self._is_still_there(self._file)

    def acquire(self) -> bool:
        """Take the lock if nobody else has it."""
        for _ in range(_TRIES):
            if self._try(fcntl.LOCK_EX):
                return True
            threading.Event().wait(_PAUSE_S)
        return False

    def is_free(self) -> bool:
        """Whether nobody holds it. Takes it, shared, for an instant."""
        if not self.path.exists():
            return True
        probe = FileLock(self.path)
        try:
            return probe._try(fcntl.LOCK_SH, os.O_RDONLY)
        finally:
            probe._drop()

    def release(self) -> None:
        """Give the lock back and remove its file."""
        if self.is_held:
            self.path.unlink(
                missing_ok=True
            )  # while it is held: who opened it meanwhile sees that it is gone, and tries again
        self._drop()

    def _try(self, kind: int, flags: int = os.O_RDWR | os.O_CREAT) -> bool:
        try:
            file = os.open(self.path, flags | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            return True  # only without O_CREAT: no file, no lock
        except OSError as error:
            raise LedgerError(
                f"The lock file {self.path} cannot be opened: {error.strerror}. "
                "Make its folder writable, or choose another ledger with --ledger."
            ) from error
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        if not self._is_still_there(file):
            os.close(file)
            return False
        self._file = file
        return True

    def _is_still_there(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self.path.stat())
        except FileNotFoundError:
            return False

    def _drop(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
