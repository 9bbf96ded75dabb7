"""Places of the shared state of an account: what they offer, and a file as the usual one.

Times in the file are of the system-wide monotonic clock (CLOCK_MONOTONIC on Linux, the time since
the start of the machine elsewhere). So the name of the file contains the boot and, on Linux, the
namespace of the clock: machines or containers with a clock of their own have a file of their own.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from orchestrator.client.limits.shares import LEASE_S
from orchestrator.durable import FileLock

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGN_TRIES = 5
_KEPT_S = 30 * 24 * 3600.0  # a file in use is written all the time, or locked
_BEAT_S = 0.1
_FORMAT = "orchestrator.limits/1"  # what the file contains
_MIN_BYTES = 16_384  # written at the start, so that a full disk is noticed then


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Speed of the exchange of seats, as it suits the place of the shared state.

    Attributes:
        beat_s: Time between two exchanges.
        lease_s: Time after an exchange for which a member may use its seats; as
            :class:`~orchestrator.client.limits.shares.Book` takes it.
        is_remote: An exchange may take long: it is made in a thread. A member that cannot make one
            sends nothing, because the others cannot know that it still exists.
    """

    beat_s: float = _BEAT_S
    lease_s: float = LEASE_S
    is_remote: bool = False


LOCAL: Final = Rhythm()


@dataclass(frozen=True, slots=True)
class Moment:
    """Instant of an exchange, on the clock of the shared state and on the clock of this process.

    Attributes:
        at: The instant on the shared clock.
        before: An instant of ours that was not later.
        after: An instant of ours that was not earlier.
    """

    at: float
    before: float
    after: float

    def there(self, instant: float) -> float:
        """Return an instant of ours on the shared clock; rather too late than too early."""
        return instant + (self.at - self.before)

    def here(self, instant: float) -> float:
        """Return an instant of the shared clock on ours; rather too late than too early."""
        return instant - (self.at - self.after)


class Act(Protocol):
    """Makes the next state of the present one."""

    def __call__(
        self, content: dict[str, Any] | None, moment: Moment | None = None, /
    ) -> dict[str, Any]:
        """Return the next state; ``moment`` is given if the state has a clock of its own."""
        ...


class ShelfBusy(Exception):
    """Another process works on the shared state at this moment."""


class Shelf(Protocol):
    """Keeps the shared state of one account."""

    def join(self) -> None:
        """Show that this member is alive, until its process ends or it leaves."""
        ...

    def leave(self) -> None:
        """Stop showing that."""
        ...

    def is_alive(self, member: str) -> bool:
        """Return True if the process of another member exists, running or stopped."""
        ...

    def traces(self) -> list[str]:
        """Return the members that have shown to be alive and did not leave, also dead ones."""
        ...

    def change(self, act: Act) -> None:
        """Replace the state by what ``act`` makes of it; None means that it is new or was lost.

        Raises:
            ShelfBusy: Another process is at it; nothing was done.
            OSError: It cannot be read or written.
        """
        ...


class FileShelf:
    """The state in a file, guarded by a lock on it, with a locked file for each live member.

    Args:
        folder: Folder of the files; made if it does not exist.
        account: Names the account; only its hash is written.
        member: Id of this member.
    """

    def __init__(self, folder: Path, account: str, member: str) -> None:
        self._folder = folder
        text = f"{_FORMAT}\n{account}\n{_clock_name()}"
        self._name = hashlib.sha256(text.encode()).hexdigest()[:24]
        self.path = folder / f"{self._name}.limits"
        self._file = FileLock(self.path)
        self._sign = FileLock(self._sign_of(member))

    def join(self) -> None:
        """See :class:`Shelf`."""
        if self._sign.is_held:
            return
        self._sign.release()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._sign.acquire(tries=_SIGN_TRIES)  # another member may just look whether it is held
        self._remove_old_files()

    def leave(self) -> None:
        """See :class:`Shelf`."""
        self._sign.release(removes=True)

    def is_alive(self, member: str) -> bool:
        """See :class:`Shelf`; removes the sign of a dead one."""
        sign = self._sign_of(member)
        if not FileLock(sign).is_free():
            return True
        sign.unlink(missing_ok=True)
        return False

    def traces(self) -> list[str]:
        """See :class:`Shelf`."""
        return [path.name.split(".")[1] for path in self._folder.glob(f"{self._name}.*.alive")]

    def change(self, act: Callable[[dict[str, Any] | None], dict[str, Any]]) -> None:
        """See :class:`Shelf`."""
        if not self._file.acquire():
            raise ShelfBusy
        try:
            body = orjson.dumps(act(_unpacked(self._file.read())))
            head = b"%010d %08x " % (len(body), zlib.crc32(body))
            self._file.write((head + body).ljust(_MIN_BYTES))
        finally:
            self._file.release()

    def _remove_old_files(self) -> None:
        """Remove what earlier starts of the machine left behind, by the clock of the disk."""
        newest = self._sign.path.stat().st_mtime
        for path in [*self._folder.glob("*.limits"), *self._folder.glob("*.alive")]:
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < newest - _KEPT_S and FileLock(path).is_free():
                    path.unlink(missing_ok=True)

    def _sign_of(self, member: str) -> Path:
        return self._folder / f"{self._name}.{member}.alive"


def _unpacked(content: bytes) -> dict[str, Any] | None:
    """Return the state, or None if the file is new or damaged."""
    try:
        size, checksum, rest = content[:10], content[11:19], content[20:]
        body = rest[: int(size)]
        if zlib.crc32(body) != int(checksum, 16):
            return None
        state = orjson.loads(body)
    except ValueError:
        return None
    return state if isinstance(state, dict) else None


def _clock_name() -> str:
    """Return what tells this monotonic clock from others, as far as the system says."""
    names = [os.uname().nodename]
    with contextlib.suppress(OSError):
        names = [Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()]
        names.append(str(Path("/proc/self/ns/time").readlink()))
    return "\n".join(names)
