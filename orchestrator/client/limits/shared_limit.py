"""One limit per account for all processes of a machine, through a small shared file.

Sending needs no lock and no file: each process sends from seats that it holds. Ten times a second
it reads the file, says what it needs, and gives and takes seats (:mod:`.shares`
has the rules). Where the shared state is kept is behind :class:`Shelf`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import platform
import secrets
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orchestrator.client.limits.rate_limiter import AdaptiveLimiter, Learned
from orchestrator.client.limits.shares import Ask, Book, Grant, Process
from orchestrator.client.limits.shelf import LOCAL, FileShelf, Moment, ShelfBusy
from orchestrator.domain.wording import counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from orchestrator.client.limits.shelf import Rhythm, Shelf
    from orchestrator.domain.ports import Clock

STATE_VARIABLE: Final = "ORCHESTRATOR_STATE_DIR"
"""Environment variable: folder of the shared limits to use instead of the platform's; ``off`` keeps
each process to itself."""
_BUSY_S = 0.005  # look for the lock of the file this often
_PATIENCE_S = 5.0  # a notice is due after this time without a seat, or without the file


class _Exchange:
    """One exchange on its way; :meth:`act` may run in a thread.

    Args:
        clock: Time of this process.
        asks: Sides of this member, by kind of request.
        instants: Shared instants of what it knows from others, by kind and by ours.
        book: Opens the shared state.
        is_alive: Returns True if another member exists.

    Attributes:
        asks: As given.
        grants: The answers.
        moment: The instant of it.
        began_at: An instant of ours that was not later.
        instants: Shared instants of what was learned, by kind and by ours.
    """

    def __init__(
        self,
        clock: Clock,
        asks: dict[str, Ask],
        instants: Mapping[str, Mapping[float, float]],
        book: Callable[[dict[str, Any] | None, float], Book],
        is_alive: Callable[[str], bool],
    ) -> None:
        self._clock, self._book, self._is_alive = clock, book, is_alive
        self.asks = asks
        self.grants: dict[str, Grant] = {}
        # Not later than the lock is taken: if the file is removed then, the next one allows for
        # leases that began before it was made.
        self.began_at = clock.monotonic()
        self.moment = Moment(self.began_at, self.began_at, self.began_at)
        self.instants: dict[str, dict[float, float]] = {k: dict(v) for k, v in instants.items()}

    def act(self, content: dict[str, Any] | None, moment: Moment | None = None) -> dict[str, Any]:
        """Exchange, while the state is locked; see :class:`Act`."""
        self.moment = moment or _moment_of(self._clock)
        self.grants.clear()
        book = self._book(content, self.moment.at)
        shared = {kind: self._shared(kind, ask) for kind, ask in self.asks.items()}
        self.grants.update(book.exchange(this_process(), shared, self._is_alive))
        return book.content

    def _shared(self, kind: str, ask: Ask) -> Ask:
        """Return one side with instants of the shared clock."""
        there, known = self.moment.there, self.instants[kind]
        rate, decreased_at, silent_until = ask.learned
        learned = [known.setdefault(at, there(at)) for at in (decreased_at, silent_until)]
        return replace(
            ask,
            last_taken=there(ask.last_taken),
            given=[there(at) for at in ask.given],
            learned=(rate, learned[0], learned[1]),
        )


def _moment_of(clock: Clock) -> Moment:
    """Return this instant, for a state that goes by the clock of this machine."""
    now = clock.monotonic()  # the lock is held from here on
    return Moment(now, now, now)


class SharedLimits:
    """This process's membership in the limits of an account.

    Args:
        shelf: Keeps the shared state.
        member: Id of this member, as the shelf knows it.
        limiters: Limiters by kind of request.
        clock: System-wide monotonic time.
        notice: Takes a sentence for the user.
        rhythm: Speed of the exchange.
    """

    def __init__(
        self,
        shelf: Shelf,
        member: str,
        limiters: Mapping[str, AdaptiveLimiter],
        clock: Clock,
        notice: Callable[[str], None],
        rhythm: Rhythm = LOCAL,
    ) -> None:
        self._shelf = shelf
        self._rhythm = rhythm
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
        # What was learned keeps its shared instants: converted again and again, they would move.
        self._instants: dict[str, dict[float, float]] = {kind: {} for kind in limiters}

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
            is_done = await self._beat_aside() if self._rhythm.is_remote else self.beat()
            await self._clock.sleep(self._rhythm.beat_s if is_done else _BUSY_S)

    async def _beat_aside(self) -> bool:
        """Exchange once, in a thread, as :meth:`beat`."""
        pending = self._prepare()

        def work() -> None:
            self._shelf.join()
            self._shelf.change(pending.act)

        try:
            await asyncio.to_thread(work)
        except (OSError, ShelfBusy) as error:
            self._give_up(pending, error)
            return self._failed(error)
        self._conclude(pending)
        self._failed_since = None
        return True

    def beat(self) -> bool:
        """Exchange once; return False if another process was at it.

        If it fails, the lease ends, and this process continues with one seat of each kind.
        """
        try:
            self._shelf.join()  # again, if its file was removed
            self.exchange()
        except (OSError, ShelfBusy) as error:
            for limiter in self._limiters.values():
                limiter.seats.is_cut_off = True
            return self._failed(error)
        self._failed_since = None
        for limiter in self._limiters.values():
            limiter.seats.is_cut_off = False
        return True

    def _failed(self, error: Exception) -> bool:
        """Report a failure that lasts; return False if another process was at it."""
        now = self._clock.monotonic()
        self._failed_since = now if self._failed_since is None else self._failed_since
        is_busy = isinstance(error, ShelfBusy)
        if now - self._failed_since >= (_PATIENCE_S if is_busy else self._rhythm.lease_s):
            self._report_failure(error)
        return not is_busy

    def exchange(self) -> None:
        """Exchange seats with the other members.

        Raises:
            OSError: The shared state cannot be read or written.
            ShelfBusy: Another process works on it.
        """
        pending = self._prepare()
        try:
            self._shelf.change(pending.act)
        except (OSError, ShelfBusy) as error:
            self._give_up(pending, error)
            raise
        self._conclude(pending)

    def _prepare(self) -> _Exchange:
        asks = {kind: self._ask(kind, limiter) for kind, limiter in self._limiters.items()}
        return _Exchange(self._clock, asks, self._instants, self._book, self._shelf.is_alive)

    def _give_up(self, pending: _Exchange, error: Exception) -> None:
        if isinstance(error, ShelfBusy):
            pending.grants.clear()  # another member was faster: for certain, nothing was written
        for kind, ask in pending.asks.items():
            seats = self._limiters[kind].seats
            if kind not in pending.grants:
                seats.receive(ask.given, self._clock.monotonic())
            # Otherwise it may have been written: nothing is taken back, and nothing received.
            elif len(seats) > pending.grants[kind].keeps:
                seats.lose()

    def _conclude(self, pending: _Exchange) -> None:
        for kind, grant in pending.grants.items():
            self._apply(kind, grant, pending)
            self._limiters[kind].seats.valid_until = pending.began_at + self._rhythm.lease_s
        self._has_met = True

    def _book(self, content: dict[str, Any] | None, now: float) -> Book:
        return Book(
            content,
            now,
            self._member,
            self._shelf.traces,
            has_met=self._has_met,
            lease_s=self._rhythm.lease_s,
        )

    def leave(self) -> None:
        """Give everything back; what cannot be given back now is free when the lease ends."""
        now = self._clock.monotonic()
        given = {kind: one.seats.give(len(one.seats), now) for kind, one in self._limiters.items()}
        for limiter in self._limiters.values():
            limiter.seats.lose()

        def act(content: dict[str, Any] | None, moment: Moment | None = None) -> dict[str, Any]:
            moment = moment or _moment_of(self._clock)
            book = self._book(content, moment.at)
            shift_s = moment.there(0.0)
            book.leave({kind: [at + shift_s for at in free] for kind, free in given.items()})
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

    def _apply(self, kind: str, grant: Grant, pending: _Exchange) -> None:
        moment, at = pending.moment, pending.moment.after
        limiter, seats = self._limiters[kind], self._limiters[kind].seats
        if len(seats) > grant.keeps:
            seats.lose()
        missing = grant.keeps - len(seats)
        shift_s = moment.here(0.0)
        received = [instant + shift_s for instant in grant.received]  # a limit may be 100,000
        seats.receive([*received, *([at + limiter.period_s] * missing)], at)
        self._surplus[kind] = grant.surplus
        limiter.adopt(grant.limit_per_s, self._learned_here(kind, grant, pending))
        self._report_famine(kind, grant, at)
        if grant.limit_per_s < limiter.ceiling_per_s:
            self._say(
                f"lower {kind}",
                f"Another run of this account ({_named(grant.lowest)}) limits {kind} requests to"
                f" {grant.limit_per_s:g} per second. That is less than this run's"
                f" {limiter.ceiling_per_s:g}, and counts for both while both work.",
            )

    def _learned_here(self, kind: str, grant: Grant, pending: _Exchange) -> Learned:
        """Return what all have learned, with instants of our clock."""
        rate, *shared = grant.learned
        known = {there: here for here, there in pending.instants[kind].items()}
        here = [known.get(at, pending.moment.here(at)) if at > 0 else 0.0 for at in shared]
        self._instants[kind] = dict(zip(here, shared, strict=True))
        return Learned(rate, *here)

    def _report_famine(self, kind: str, grant: Grant, at: float) -> None:
        """Say that others have the whole limit, if that takes longer than taking turns does."""
        limiter = self._limiters[kind]
        if len(limiter.seats) or not limiter.is_waiting:
            self._without_since[kind] = at
        elif at - self._without_since.setdefault(kind, at) > _PATIENCE_S + 10 * limiter.period_s:
            name = _named(grant.holder)
            process = f" ({name})" if name else ""
            self._say(
                f"famine {kind}",
                f"Another run of this account{process} has the whole limit"
                f" of {kind} requests. This run waits for its turn; if the other one was"
                " stopped, continue or end it.",
            )

    def _report_failure(self, error: Exception) -> None:
        why = "another process holds it" if isinstance(error, ShelfBusy) else str(error)
        if self._rhythm.is_remote:
            text = (
                f"The database of the shared limit cannot be used ({why}). Until it can, this run"
            )
            self._say("failure", f"{text} sends nothing, because others may have its share.")
            return
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


def this_process() -> Process:
    """Return the process that shares a limit, as other hosts must know it."""
    return Process(os.getpid(), platform.node())


def _named(process: Process) -> str:
    return process.named(platform.node())


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
    database: str | None = None,
) -> AsyncIterator[None]:
    """Share limits with the other processes of an account while the context is open.

    If the shared state cannot be used, say so, and let this process keep the limits by itself.

    Args:
        account: Names the account.
        limiters: Limiters by kind of request.
        clock: Time.
        notice: Takes a sentence for the user.
        database: Address of a PostgreSQL database, to share them with other hosts too; otherwise
            with this machine.
    """
    limits = (
        _joined(account, limiters, clock, notice)
        if database is None
        else await _joined_in_database(database, account, limiters, clock, notice)
    )
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
        if database is None:
            limits.leave()
        else:
            await asyncio.to_thread(limits.leave)


async def _joined_in_database(
    database: str,
    account: str,
    limiters: Mapping[str, AdaptiveLimiter],
    clock: Clock,
    notice: Callable[[str], None],
) -> SharedLimits | None:
    from orchestrator.client.limits.postgres_shelf import RHYTHM, PostgresShelf
    from orchestrator.postgresql import parse_address

    member = secrets.token_hex(6)
    address = parse_address(database)
    shelf = PostgresShelf(address, account, member, clock.monotonic)
    limits = SharedLimits(shelf, member, limiters, clock, notice, RHYTHM)
    try:
        await asyncio.to_thread(limits.join)
    except ShelfBusy:
        return limits  # the next beat takes part
    except OSError as error:
        shelf.leave()
        _unshare(limiters)
        notice(
            f"The limit cannot be shared with other runs of this account ({error.strerror}). This"
            " run keeps the limit by itself; do not start another one beside it, or let the user"
            f' of the database make the schema "{address.schema}" and tables in it.'
        )
        return None
    return limits


def _joined(
    account: str,
    limiters: Mapping[str, AdaptiveLimiter],
    clock: Clock,
    notice: Callable[[str], None],
) -> SharedLimits | None:
    problem = ""
    for folder in state_folders():
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
