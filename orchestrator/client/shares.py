"""Shares: how the processes of one account divide its limits. Pure: values in, values out.

:class:`Book` is what all processes share, wherever it is kept; one process at a time reads it,
calls :meth:`Book.exchange` and writes it back. It counts the seats (see
:mod:`orchestrator.client.seats`) that each member holds, and has those that are changing hands in
a pool, with the instants from which on they are free. A seat is in one place only, so all members
together never hold more than the limit.

A member may use its seats for :data:`LEASE_S` after an exchange. From then on others may take all
but one. If it is only held up, the one that is left covers a request that was being written at
that moment; if it is dead, the last seat is free, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LEASE_S = 0.6
"""A member that made no exchange for this time stops using its seats, except one."""
_FORGET_AFTER_S = 48 * 3600.0  # as in a run's own memory of its rate
_GROUPS = 64  # most groups that one handover puts into the pool


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
    lowest: int
    holder: int


class Book:
    """The shared state.

    Args:
        content: As :attr:`content` was written; None for a book that is new or was lost.
        now: System-wide monotonic time.
    """

    def __init__(self, content: dict[str, Any] | None, now: float) -> None:
        # Members of a lost book may go on until their leases end: no seat is free before.
        if content is None or content["made_at"] > now:  # later: the clock started again
            content = {"made_at": now, "members": {}, "kinds": {}}
        self.content: dict[str, Any] = content
        self._now = now

    @property
    def members(self) -> dict[str, Any]:
        """Members by id."""
        members: dict[str, Any] = self.content["members"]
        return members

    def exchange(
        self, me: str, pid: int, asks: Mapping[str, Ask], is_alive: Callable[[str], bool]
    ) -> dict[str, Grant]:
        """Renew a member's lease, and exchange seats with the others."""
        mine = self.members.setdefault(me, {"pid": pid, "kinds": {}})
        mine["until"] = self._now + LEASE_S
        for kind, ask in asks.items():
            entry = mine["kinds"].setdefault(kind, {"seats": 0, "is_cut": False})
            entry |= {"rate": ask.rate_per_s, "factor": ask.period_factor}
            entry |= {"wants": ask.wants, "last": max(ask.last_taken, 0.0)}
            # After a cut, what it wants to give is no longer its own.
            given = [] if entry["is_cut"] else ask.given[: entry["seats"]]
            entry["is_cut"] = False
            entry["seats"] -= len(given)
            self._add(kind, given)
        self._cut_the_silent(me, is_alive)
        return {kind: self._grant(me, kind, ask) for kind, ask in asks.items()}

    def leave(self, me: str, given: Mapping[str, list[float]]) -> None:
        """Remove a member; its seats are free at the given instants, and others a period later."""
        gone = self.members.pop(me, None)
        for kind, entry in (gone["kinds"] if gone else {}).items():
            known = given.get(kind, [])[: entry["seats"]]
            late = self._now + _period_s(entry)
            self._add(kind, known + [late] * (entry["seats"] - len(known)))

    def _cut_the_silent(self, me: str, is_alive: Callable[[str], bool]) -> None:
        """Take the seats of members whose lease has ended, from a live one all but one."""
        for name, member in list(self.members.items()):
            if name == me or self._now < member["until"] <= self._now + LEASE_S:
                continue
            left = 1 if is_alive(name) else 0
            for kind, entry in member["kinds"].items():
                cut = max(entry["seats"] - left, 0)
                self._add(kind, [self._now + _period_s(entry)] * cut)
                entry |= {"seats": entry["seats"] - cut, "wants": 0, "is_cut": True}
            if not left:
                del self.members[name]

    def _grant(self, me: str, kind: str, ask: Ask) -> Grant:
        entries = {
            name: member["kinds"][kind]
            for name, member in self.members.items()
            if kind in member["kinds"]
        }
        lowest = min(entries, key=lambda name: float(entries[name]["rate"]))
        limit_per_s = entries[lowest]["rate"]
        total = math.ceil(limit_per_s)
        self._mint(kind, entries, total, limit_per_s)
        mine = entries[me]
        keeps, target = mine["seats"], allot(entries, total)[me]
        received = self._draw(kind, target - keeps)
        mine["seats"] = keeps + len(received)
        return Grant(
            limit_per_s,
            keeps,
            received,
            max(keeps - target, 0),
            self._learn(kind, ask),
            self.members[lowest]["pid"],
            self.members[max(entries, key=lambda name: int(entries[name]["seats"]))]["pid"],
        )

    def _mint(
        self, kind: str, entries: Mapping[str, Mapping[str, Any]], total: int, limit_per_s: float
    ) -> None:
        """Make the seats that are missing from the limit, and drop those above it."""
        held = sum(entry["seats"] for entry in entries.values())
        missing = total - held - sum(count for _, count in self._pool(kind))
        if missing > 0:
            factor = max(entry["factor"] for entry in entries.values())
            period_s = total / limit_per_s * factor
            free_at = max(self._now, self.content["made_at"] + LEASE_S) + period_s
            self._add(kind, [free_at] * missing)
        elif missing < 0:
            self._draw(kind, -missing)

    def _pool(self, kind: str) -> list[list[Any]]:
        """Return the seats that are changing hands, as instants and numbers, soonest first."""
        pool: list[list[Any]] = self._kind(kind)["pool"]
        return pool

    def _kind(self, kind: str) -> dict[str, Any]:
        kinds: dict[str, Any] = self.content["kinds"]
        known: dict[str, Any] = kinds.setdefault(kind, {"pool": [], "learned": None})
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
