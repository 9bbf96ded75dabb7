"""Seats: the rights to send one request per period, as many as a process holds.

A limit of *n* requests per period is *n* seats, and each sends at most once per period. So the
limit of an account holds however its seats are divided, and when they change hands: a seat is
handed over together with the instant from which on it may be used again.
"""

from __future__ import annotations

import math
from collections import deque

HELD_S = 1.0
"""A write must begin within this time after its turn; then it needs another seat."""


class Seat:
    """One right.

    Attributes:
        free_at: It may be used from this instant on.
        may_move_at: It may be handed over from this instant on.
        is_ours: False once it was used again, handed over or lost.
    """

    __slots__ = ("free_at", "is_ours", "may_move_at")

    def __init__(self, free_at: float) -> None:
        self.free_at = free_at
        self.may_move_at = -math.inf
        self.is_ours = True


class Seats:
    """The seats of one process, used in turn.

    Args:
        count: Number of seats that are free.

    Attributes:
        valid_until: From this instant on no seat may be used, because other processes may have
            taken them.
        is_cut_off: True if this process cannot ask the others. Then it may use the seat used last
            also after that instant: they leave it one.
        taken: Number of uses until now.
        last_taken: Instant of the last use.
    """

    def __init__(self, count: int) -> None:
        self._unused = count  # free ones, made when they are needed: a limit may be 100,000
        self._used: deque[Seat] = deque()
        self.valid_until = math.inf
        self.is_cut_off = False
        self.taken = 0
        self.last_taken = -math.inf

    def __len__(self) -> int:
        return self._unused + len(self._used)

    def free_at(self, now: float) -> float:
        """Return the instant from which on one more request may leave; infinite without seats."""
        if now >= self.valid_until:
            last = self._last() if self.is_cut_off else None
            return math.inf if last is None else last.free_at
        if self._unused:
            return -math.inf
        return self._used[0].free_at if self._used else math.inf

    def take(self, now: float) -> Seat:
        """Take the seat that :meth:`free_at` found at this instant; put it behind all others."""
        if now >= self.valid_until:
            before = self._last() if self.is_cut_off else None
            if before is None:
                raise IndexError("there is no seat")
            self._used.remove(before)
            before.is_ours = False
        elif self._unused:
            self._unused -= 1
        else:
            self._used.popleft().is_ours = False
        seat = Seat(now)
        self._used.append(seat)
        self.taken += 1
        self.last_taken = now
        return seat

    def may_use(self, seat: Seat, now: float) -> bool:
        """Return True if a seat that was taken may still be used."""
        if now >= self.valid_until:
            return self.is_cut_off and seat is self._last()
        return seat.is_ours

    def give(self, count: int, now: float) -> list[float]:
        """Hand over up to ``count`` seats; return the instants at which they are free."""
        if not count:
            return []
        unused = min(count, self._unused)
        self._unused -= unused
        movable = [seat for seat in self._used if now >= seat.may_move_at]
        wanted = min(count - unused, len(movable))
        # Evenly spread, so that neither side has to wait for a block of seats.
        chosen = [movable[number * len(movable) // wanted] for number in range(wanted)]
        for seat in chosen:
            seat.is_ours = False
        self._used = deque(seat for seat in self._used if seat.is_ours)
        return [now] * unused + [max(seat.free_at, now) for seat in chosen]

    def receive(self, free_at: list[float], now: float) -> None:
        """Add seats that are free at these instants; one that is free now is as good as unused."""
        later = [Seat(instant) for instant in free_at if instant > now]
        self._unused += len(free_at) - len(later)
        if later:
            self._used = deque(sorted([*self._used, *later], key=lambda seat: seat.free_at))

    def add_unused(self, count: int) -> None:
        """Add seats that were never used."""
        self._unused += count

    def lose(self) -> None:
        """Lose all seats."""
        for seat in self._used:
            seat.is_ours = False
        self._unused = 0
        self._used.clear()

    def _last(self) -> Seat | None:
        """Return the seat used last."""
        if not self._used and self._unused:
            self._unused -= 1
            self._used.append(Seat(-math.inf))
        return max(self._used, key=lambda seat: seat.free_at, default=None)
