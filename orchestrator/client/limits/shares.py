"""Shares: how the processes of one account divide its limits. Pure: values in, values out.

:class:`Book` is what all processes share, wherever it is kept; one process at a time reads it,
calls :meth:`Book.exchange` and writes it back. It counts the seats (see
:mod:`.seats`) that each member holds, and has those that are changing hands in
a pool, with the instants from which on they are free. A seat is in one place only, so all members
together never hold more than the limit.

A member may use its seats for a lease (:data:`LEASE_S`) after an exchange. From then on it uses
none before its next exchange, and others may take all but one. If it is only held up, the one that
is left covers a request that was being written at that moment, or is used while the book is out of
its reach. When it comes back, that seat is free a period later; if it is dead, likewise.

The guarantee: any two uses of one seat are a period apart, whoever uses it. A holder knows when it
last used a seat, and hands it over with the instant from which on it is free. What a book cannot
know, it takes to have happened a moment ago: a seat that is cut is free a period after that. A book
that is new although there are signs of members was lost, with all that it said. Then no seat is
free before a period after the end of their leases, and one seat is left to each of them, for its
request that may be in the middle of its write.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

LEASE_S = 0.6
"""A member that made no exchange for this time stops using its seats, except one."""
_FORGET_AFTER_S = 48 * 3600.0  # as in a run's own memory of its rate
_NEW_KIND = {"free_from": 0.0, "learned": None}
_GROUPS = 64  # most groups that one handover puts into the pool


class Process(NamedTuple):
    """The process of a member; 0 and no host if they are not known."""

    pid: int
    host: str = ""

    def named(self, here: str) -> str:
        """Return its name in words: with its host if that is not ``here``; empty if not known."""
        if not self.pid:
            return ""
        where = f" on {self.host}" if self.host not in {"", here} else ""
        return f"process {self.pid}{where}"


_LOST = Process(0)
"""Members that a lost book knew, until they make an exchange."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One member's side of an exchange, for one kind of request.

    Attributes:
        rate_per_s: The limit that it was configured with.
        period_factor: Length of a period of ``ceil(rate) / rate`` seconds, with its reserve.
        wants: Seats that it could use.
        last_taken: Instant of its last request.
        given: Seats that it no longer uses, each with the instant from which on it is free.
        learned: Learned rate, instant of the last decrease, end of a silence.
    """

    rate_per_s: float
    period_factor: float
    wants: int
    last_taken: float
    given: list[float] = field(default_factory=list)
    learned: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to an :class:`Ask`.

    Attributes:
        limit_per_s: The account's limit: the lowest that a member was configured with.
        keeps: Seats that the member keeps of those that it had.
        received: Seats that it has from now on.
        surplus: Seats to give in the next exchange.
        learned: As in :class:`Ask`, by all members.
        lowest: Process with the lowest limit.
        holder: Process with the most seats.
    """

    limit_per_s: float
    keeps: int
    received: list[float]
    surplus: int
    learned: tuple[float, float, float]
    lowest: Process
    holder: Process


_Positive = Annotated[float, Field(gt=0)]
_Number = Annotated[int, Field(ge=0)]


class _Written(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Entry(_Written):
    seats: _Number
    is_cut: bool
    rate: _Positive
    factor: _Positive
    wants: _Number
    last: float


class _Member(_Written):
    pid: int
    host: str = ""  # earlier versions did not write it
    until: float
    kinds: dict[str, _Entry]


class _Kind(_Written):
    free_from: float
    learned: Annotated[list[float], Field(min_length=3, max_length=3)] | None
    pool: list[Annotated[list[float], Field(min_length=2, max_length=2)]]


class _Content(_Written):
    at: float
    quiet_until: float
    members: dict[str, _Member]
    kinds: dict[str, _Kind]


def is_book(content: Any) -> bool:
    """Return True if a content has the form in which :class:`Book` writes it."""
    try:
        _Content.model_validate(content)
    except ValidationError:
        return False
    return True


class Book:
    """The shared state.

    Args:
        content: As :attr:`content` was written; None for a book that is new or was lost. One of
            another form counts as lost.
        now: System-wide monotonic time.
        me: The member that reads it.
        traces: Returns the members of which there is a sign; only asked if the book is new.
        has_met: True if this member has seen the book before.
        lease_s: Time after an exchange for which a member may use its seats.
    """

    def __init__(
        self,
        content: dict[str, Any] | None,
        now: float,
        me: str,
        traces: Callable[[], Iterable[str]],
        *,
        has_met: bool = False,
        lease_s: float = LEASE_S,
    ) -> None:
        self._lease_s = lease_s
        # Content from later than now: the clock started again.
        if content is None or not is_book(content) or content["at"] > now:
            # Nothing tells which kinds of seats they have: see _lost_entry.
            lost = {name: _member(_LOST, now + lease_s) for name in traces() if name != me}
            quiet_until = now + lease_s if lost else now if has_met else 0.0
            content = {"quiet_until": quiet_until, "members": lost, "kinds": {}}
        self.content: dict[str, Any] = content | {"at": now}
        self._me = me
        self._now = now

    @property
    def members(self) -> dict[str, Any]:
        """Members by id."""
        members: dict[str, Any] = self.content["members"]
        return members

    def exchange(
        self, process: Process, asks: Mapping[str, Ask], is_alive: Callable[[str], bool]
    ) -> dict[str, Grant]:
        """Renew this member's lease, and exchange seats with the others."""
        mine = self.members.setdefault(self._me, _member(process, 0.0))
        mine |= process._asdict() | {"until": self._now + self._lease_s}
        for kind, ask in asks.items():
            for member in self.members.values():
                if member["pid"] == _LOST.pid:
                    member["kinds"].setdefault(kind, _lost_entry(ask))
            entry = mine["kinds"].setdefault(kind, {"seats": 0, "is_cut": False})
            entry |= {"rate": ask.rate_per_s, "factor": ask.period_factor}
            entry |= {"wants": ask.wants, "last": max(ask.last_taken, 0.0)}
            # After a cut, what it wants to give is no longer its own, and the one seat that was
            # left to it may have been used at any moment up to this one.
            late = [self._now + self._period_s(kind)] * entry["seats"]
            given = late if entry["is_cut"] else ask.given[: entry["seats"]]
            entry["is_cut"] = False
            entry["seats"] -= len(given)
            self._add(kind, given)
        self._cut_the_silent(is_alive)
        return {kind: self._grant(kind, ask) for kind, ask in asks.items()}

    def leave(self, given: Mapping[str, list[float]]) -> None:
        """Remove this member; its seats are free at the given instants, others a period later."""
        for kind, entry in self.members.get(self._me, {"kinds": {}})["kinds"].items():
            known = [] if entry["is_cut"] else given.get(kind, [])[: entry["seats"]]
            late = self._now + self._period_s(kind)
            self._add(kind, known + [late] * (entry["seats"] - len(known)))
        self.members.pop(self._me, None)

    def _cut_the_silent(self, is_alive: Callable[[str], bool]) -> None:
        """Take the seats of members whose lease has ended, from a live one all but one."""
        for name, member in list(self.members.items()):
            if name == self._me or self._now < member["until"]:
                continue
            left = 1 if is_alive(name) else 0
            for kind, entry in member["kinds"].items():
                cut = max(entry["seats"] - left, 0)
                self._add(kind, [self._now + self._period_s(kind)] * cut)
                entry |= {"seats": entry["seats"] - cut, "wants": 0, "is_cut": True}
            if not left:
                del self.members[name]

    def _entries(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return what the members have of one kind."""
        return {
            name: member["kinds"][kind]
            for name, member in self.members.items()
            if kind in member["kinds"]
        }

    def _period_s(self, kind: str) -> float:
        """Return the longest time that a member of this book takes for a period."""
        return max(_period_s(entry) for entry in self._entries(kind).values())

    def _grant(self, kind: str, ask: Ask) -> Grant:
        entries = self._entries(kind)
        lowest = min(entries, key=lambda name: float(entries[name]["rate"]))
        limit_per_s = entries[lowest]["rate"]
        total = math.ceil(limit_per_s)
        self._mint(kind, total)
        mine = entries[self._me]
        keeps, target = mine["seats"], allot(entries, total)[self._me]
        received = self._draw(kind, target - keeps)
        mine["seats"] = keeps + len(received)
        return Grant(
            limit_per_s,
            keeps,
            received,
            max(keeps - target, 0),
            self._learn(kind, ask),
            self._process(lowest),
            self._process(max(entries, key=lambda name: int(entries[name]["seats"]))),
        )

    def _process(self, name: str) -> Process:
        member = self.members[name]
        return Process(member["pid"], member.get("host", ""))

    def _mint(self, kind: str, total: int) -> None:
        """Make the seats that are missing from the limit, and drop those above it."""
        held = sum(entry["seats"] for entry in self._entries(kind).values())
        missing = total - held - sum(count for _, count in self._pool(kind))
        if missing > 0:
            self._add(kind, [self._unseen_free_at(kind)] * missing)
        elif missing < 0:
            known = self._kind(kind)
            known["free_from"] = max([known["free_from"], *self._draw(kind, -missing)])

    def _unseen_free_at(self, kind: str) -> float:
        """Return the instant from which on a seat may be used that is not in this book."""
        quiet_until: float = self.content["quiet_until"]
        # Seats that were dropped, while the limit was lower, may have been used before.
        free_from: float = self._kind(kind)["free_from"]
        return max(free_from, quiet_until + self._period_s(kind) if quiet_until else 0.0)

    def _pool(self, kind: str) -> list[list[Any]]:
        """Return the seats that are changing hands, as instants and numbers, soonest first."""
        pool: list[list[Any]] = self._kind(kind)["pool"]
        return pool

    def _kind(self, kind: str) -> dict[str, Any]:
        kinds: dict[str, Any] = self.content["kinds"]
        known: dict[str, Any] = kinds.setdefault(kind, dict(_NEW_KIND, pool=[]))
        return known

    def _add(self, kind: str, free_at: list[float]) -> None:
        """Put seats into the pool; neighbors become a group that is free when its last one is."""
        size = max(1, math.ceil(len(free_at) / _GROUPS))
        ordered = sorted(free_at)
        pool = self._pool(kind)
        for start in range(0, len(ordered), size):
            group = ordered[start : start + size]
            pool.append([group[-1], len(group)])
        pool.sort()

    def _draw(self, kind: str, wanted: int) -> list[float]:
        """Take up to ``wanted`` seats out of the pool, soonest first."""
        pool, drawn = self._pool(kind), list[float]()
        while pool and len(drawn) < wanted:
            free_at, count = pool[0]
            part = min(count, wanted - len(drawn))
            drawn += [free_at] * part
            pool[0][1] -= part
            if not pool[0][1]:
                del pool[0]
        return drawn

    def _learn(self, kind: str, ask: Ask) -> tuple[float, float, float]:
        """Merge what a member has learned: the last decrease counts, then the best recovery."""
        known = self._kind(kind)["learned"]
        rate, decreased_at, silent_until = ask.learned
        decreased_at, silent_until = max(decreased_at, 0.0), max(silent_until, 0.0)
        if known is not None and (not known[1] or self._now - known[1] < _FORGET_AFTER_S):
            if known[1] > decreased_at:
                rate, decreased_at = known[0], known[1]
            elif known[1] == decreased_at:
                rate = max(rate, known[0])
            silent_until = max(silent_until, known[2])
        self._kind(kind)["learned"] = [rate, decreased_at, silent_until]
        return rate, decreased_at, silent_until


def _member(process: Process, until: float) -> dict[str, Any]:
    return process._asdict() | {"until": until, "kinds": {}}


def _lost_entry(ask: Ask) -> dict[str, Any]:
    """Return the entry of a member that a lost book knew: it may have one request in a write."""
    entry = {"seats": 1, "is_cut": True, "rate": ask.rate_per_s, "factor": ask.period_factor}
    return entry | {"wants": 0, "last": 0.0}


def _period_s(entry: Mapping[str, Any]) -> float:
    rate = float(entry["rate"])
    return math.ceil(rate) / rate * float(entry["factor"])


def allot(entries: Mapping[str, Mapping[str, Any]], total: int) -> dict[str, int]:
    """Divide seats by demand: none gets less than an even part unless it wants less.

    Seats that are not wanted are divided evenly as well, so that whoever needs them has them. With
    more members than seats, whoever sent least recently is next.
    """
    shares = dict.fromkeys(entries, 0)
    left = total
    if total >= len(entries):
        shares, left = dict.fromkeys(entries, 1), total - len(entries)
    while left:
        hungry = [name for name in entries if entries[name]["wants"] > shares[name]]
        takers = hungry or list(entries)
        if total < len(entries):
            takers.sort(key=lambda name: (entries[name]["last"], name))
        else:
            takers.sort(key=lambda name: (-entries[name]["seats"], name))
        even = left // len(takers)
        for name in takers if even else takers[:left]:
            room = entries[name]["wants"] - shares[name] if hungry else left
            part = min(max(even, 1), room, left)
            shares[name] += part
            left -= part
    return shares
