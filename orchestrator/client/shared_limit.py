"""One limit per account for all processes of a machine, through a small shared file.

Sending needs no lock and no file: each process sends from seats that it holds. Ten times a second
it reads the file, says what it needs, and gives and takes seats (:mod:`orchestrator.client.shares`
has the rules). Where the shared state is kept is behind :class:`Shelf`.

Times in the file are of the system-wide monotonic clock (CLOCK_MONOTONIC on Linux, the time since
the start of the machine elsewhere). So the name of the file contains the boot and, on Linux, the
namespace of the clock: machines or containers with a clock of their own have a file of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import tempfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from orchestrator.client.rate_limiter import AdaptiveLimiter, Learned
from orchestrator.client.shares import LEASE_S, Ask, Book, Grant
from orchestrator.domain.wording import counted
from orchestrator.durable import FileLock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from orchestrator.domain.ports import Clock

STATE_VARIABLE: Final = "ORCHESTRATOR_STATE_DIR"
"""Environment variable: folder of the shared limits to use instead of the platform's; ``off`` keeps
each process to itself."""
_SIGN_TRIES = 5
_KEPT_S = 30 * 24 * 3600.0  # a file in use is written all the time, or locked
_BEAT_S = 0.1
_BUSY_S = 0.005  # look for the lock of the file this often
_PATIENCE_S = 5.0  # a notice is due after this time without a seat, or without the file
_FORMAT = "orchestrator.limits/1"  # what the file contains
_MIN_BYTES = 16_384  # written at the start, so that a full disk is noticed then


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

    def change(self, act: Callable[[dict[str, Any] | None], dict[str, Any]]) -> None:
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


class SharedLimits:
    """This process's membership in the limits of an account.

    Args:
        shelf: Keeps the shared state.
        member: Id of this member, as the shelf knows it.
        limiters: Limiters by kind of request.
        clock: System-wide monotonic time.
        notice: Takes a sentence for the user.
    """

    def __init__(
        self,
        shelf: Shelf,
        member: str,
        limiters: Mapping[str, AdaptiveLimiter],
        clock: Clock,
        notice: Callable[[str], None],
    ) -> None:
        self._shelf = shelf
        self._member = member
        self._limiters = limiters
        self._clock = clock
        self._notice = notice
        self._said: set[str] = set()
        self._surplus = dict.fromkeys(limiters, 0)
        self._taken: dict[str, list[tuple[float, int]]] = {kind: [] for kind in limiters}
        self._failed_since: float | None = None
        self._has_met = False
        self._without_since: dict[str, float] = {}

    def join(self) -> None:
        """Take part from now on.

        Raises:
            OSError: The shared state cannot be used.
            ShelfBusy: Another process works on it.
        """
        self._shelf.join()
        for limiter in self._limiters.values():
            limiter.seats.lose()
            limiter.seats.valid_until = self._clock.monotonic()
        self.exchange()

    async def run(self) -> None:
        """Exchange seats until cancelled."""
        while True:
            pause_s = _BEAT_S if self.beat() else _BUSY_S
            await self._clock.sleep(pause_s)

    def beat(self) -> bool:
        """Exchange once; return False if another process was at it.

        If it fails, the lease ends, and this process continues with one seat of each kind.
        """
        now = self._clock.monotonic()
        try:
            self._shelf.join()  # again, if its file was removed
            self.exchange()
        except (OSError, ShelfBusy) as error:
            for limiter in self._limiters.values():
                limiter.seats.is_cut_off = True
            self._failed_since = now if self._failed_since is None else self._failed_since
            if now - self._failed_since >= (
                _PATIENCE_S if isinstance(error, ShelfBusy) else LEASE_S
            ):
                self._report_failure(error)
            return not isinstance(error, ShelfBusy)
        self._failed_since = None
        for limiter in self._limiters.values():
            limiter.seats.is_cut_off = False
        return True

    def exchange(self) -> None:
        """Exchange seats with the other members.

        Raises:
            OSError: The shared state cannot be read or written.
            ShelfBusy: Another process works on it.
        """
        asks = {kind: self._ask(kind, limiter) for kind, limiter in self._limiters.items()}
        grants: dict[str, Grant] = {}
        at = 0.0
        # Not later than the lock is taken: if the file is removed then, the next one allows for
        # leases that began before it was made.
        began_at = self._clock.monotonic()

        def act(content: dict[str, Any] | None) -> dict[str, Any]:
            nonlocal at
            at = self._clock.monotonic()  # the lock is held from here on
            book = self._book(content, at)
            grants.update(book.exchange(os.getpid(), asks, self._shelf.is_alive))
            return book.content

        try:
            self._shelf.change(act)
        except (OSError, ShelfBusy):
            for kind, ask in asks.items():
                seats = self._limiters[kind].seats
                if kind not in grants:
                    seats.receive(ask.given)
                # Otherwise it may have been written: nothing is taken back, and nothing received.
                elif len(seats) > grants[kind].keeps:
                    seats.lose()
            raise
        for kind, grant in grants.items():
            self._apply(kind, grant, at)
            self._limiters[kind].seats.valid_until = began_at + LEASE_S
        self._has_met = True

    def _book(self, content: dict[str, Any] | None, now: float) -> Book:
        return Book(content, now, self._member, self._shelf.traces, has_met=self._has_met)

    def leave(self) -> None:
        """Give everything back; what cannot be given back now is free when the lease ends."""
        now = self._clock.monotonic()
        given = {kind: one.seats.give(len(one.seats), now) for kind, one in self._limiters.items()}
        for limiter in self._limiters.values():
            limiter.seats.lose()

        def act(content: dict[str, Any] | None) -> dict[str, Any]:
            book = self._book(content, self._clock.monotonic())
            book.leave(given)
            return book.content

        with contextlib.suppress(OSError, ShelfBusy):
            self._shelf.change(act)
        with contextlib.suppress(OSError):
            self._shelf.leave()

    def _ask(self, kind: str, limiter: AdaptiveLimiter) -> Ask:
        now, seats = self._clock.monotonic(), limiter.seats
        taken = self._taken[kind]
        taken.append((now, seats.taken))
        while taken[0][0] < now - limiter.period_s:
            taken.pop(0)
        used = seats.taken - taken[0][1]
        wants = 1 << 30 if limiter.has_waited() else used + used // 8 + (used > 0)
        learned = limiter.learned()
        return Ask(
            limiter.ceiling_per_s,
            limiter.period_factor,
            wants,
            seats.last_taken,
            seats.give(self._surplus[kind], now),
            (learned.rate_per_s, learned.decreased_at, learned.silent_until),
        )

    def _apply(self, kind: str, grant: Grant, at: float) -> None:
        limiter, seats = self._limiters[kind], self._limiters[kind].seats
        if len(seats) > grant.keeps:
            seats.lose()
        missing = grant.keeps - len(seats)
        seats.receive([*grant.received, *([at + limiter.period_s] * missing)])
        self._surplus[kind] = grant.surplus
        limiter.adopt(grant.limit_per_s, Learned(*grant.learned))
        self._report_famine(kind, grant, at)
        if grant.limit_per_s < limiter.ceiling_per_s:
            self._say(
                f"lower {kind}",
                f"Another run of this account (process {grant.lowest}) limits {kind} requests to"
                f" {grant.limit_per_s:g} per second. That is less than this run's"
                f" {limiter.ceiling_per_s:g}, and counts for both while both work.",
            )

    def _report_famine(self, kind: str, grant: Grant, at: float) -> None:
        """Say that others have the whole limit, if that takes longer than taking turns does."""
        limiter = self._limiters[kind]
        if len(limiter.seats) or not limiter.is_waiting:
            self._without_since[kind] = at
        elif at - self._without_since.setdefault(kind, at) > _PATIENCE_S + 10 * limiter.period_s:
            process = f" (process {grant.holder})" if grant.holder else ""
            self._say(
                f"famine {kind}",
                f"Another run of this account{process} has the whole limit"
                f" of {kind} requests. This run waits for its turn; if the other one was"
                " stopped, continue or end it.",
            )

    def _report_failure(self, error: Exception) -> None:
        why = "another process holds it" if isinstance(error, ShelfBusy) else str(error)
        slow = ", ".join(
            f"{counted(1, kind + ' request')} in {one.period_s:.3g} s"
            for kind, one in self._limiters.items()
            if len(one.seats)
        )
        self._say(
            "failure",
            f"The limit that is shared with other runs cannot be read or written ({why}). Until it"
            " can, this run sends slowly, so that all together stay within the limit:"
            f" {slow or 'nothing, because others may have all of it'}.",
        )

    def _say(self, topic: str, text: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            self._notice(text)


def state_folders() -> list[Path]:
    """Return the folders for shared limits, the best first; none if sharing is off."""
    from platformdirs import user_state_path

    named = os.environ.get(STATE_VARIABLE, "")
    if named == "off":
        return []
    usual = Path(named).expanduser() if named else user_state_path("voiceseparate-orchestrator")
    return [usual / "limits", Path(tempfile.gettempdir()) / f"orchestrator-limits-{os.getuid()}"]


@contextlib.asynccontextmanager
async def shared_limits(
    account: str,
    limiters: Mapping[str, AdaptiveLimiter],
    clock: Clock,
    notice: Callable[[str], None],
) -> AsyncIterator[None]:
    """Share limits with the other processes of an account while the context is open.

    If no folder can be written, say so, and let this process keep the limits by itself.
    """
    limits = await _joined(account, limiters, clock, notice)
    if limits is None:
        yield
        return
    beating = asyncio.create_task(limits.run())
    try:
        yield
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        limits.leave()


async def _joined(
    account: str,
    limiters: Mapping[str, AdaptiveLimiter],
    clock: Clock,
    notice: Callable[[str], None],
) -> SharedLimits | None:
    folders = state_folders()
    problem = ""
    for folder in folders:
        member = secrets.token_hex(6)
        shelf = FileShelf(folder, account, member)
        limits = SharedLimits(shelf, member, limiters, clock, notice)
        try:
            _check_is_ours(folder)
            limits.join()
        except ShelfBusy:
            return limits  # the next beat takes part
        except OSError as error:
            problem = problem or f"{folder}: {error.strerror}"
            shelf.leave()
            _unshare(limiters)
            if error.errno not in _LASTING:
                break  # other runs may have found it in order, and use it
            continue
        return limits
    if problem:
        notice(
            f"The limit cannot be shared with other runs of this account ({problem}). This run"
            f" keeps the limit by itself; do not start another one beside it, or set"
            f" {STATE_VARIABLE} to a folder that can be written."
        )
    return None


# What every run of this user finds: then all use the next folder.
_LASTING: Final = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENOENT,
}


def _check_is_ours(folder: Path) -> None:
    """Make the folder; in a folder for everybody, it must not be another user's."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(1, "the folder belongs to another user")


def _unshare(limiters: Mapping[str, AdaptiveLimiter]) -> None:
    for limiter in limiters.values():
        limiter.unshare()
