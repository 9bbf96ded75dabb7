"""Departures: evenly spaced moments for sending, never more than the limit in any second.

A permit allows a request. The sync of its intent, its signature and perhaps a new connection still
come before it leaves. So the limit is kept at the very end, right before the write to the socket,
and counts from the end of that write.

The guarantee. There are as many *seats* as requests may leave in one period, which is a second plus
:data:`_RESERVE`. Requests take the seats in turn, and a seat is free again one period after the
write of its last request was done. So two writes from one seat begin at least a period apart, and
no period, wherever it begins, contains more writes than there are seats. This does not depend on
the moments when tasks wake, on their order, or on pauses of the process. The reserve covers the
network: the service sees no more than the limit unless a request overtakes another by more than it.

The mean. Requests are due at even distances, wider by :data:`_SLACK` than the seats alone require.
Timers are late by less than this difference, so their delays do not add up from one second to the
next. The delay of a short pause of the process is made up at twice the rate, as far as there are
seats, and later requests are on time again: a pause of *d* seconds costs about *d* squared, a tenth
of a millisecond for 10 milliseconds. A longer pause is lost. If it were made up in the same way, it
would come back every period as a gap and a rush, because seats left late are free late.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.domain.ports import Clock

# Together they stay below one percent, the promise about the mean, and leave some of it for pauses.
_RESERVE = 0.0055
_SLACK = 0.0025
# Event loops count in milliseconds: a shorter sleep would end at once, over and over.
_TICK_S = 0.001
# Pauses up to this length, or this number of requests, are made up for. Longer ones are not, and
# neither is time without requests: nothing is saved up.
_LAG_S = 0.25
_LAG_REQUESTS = 10
# A pause is made up for at this multiple of the rate.
_HASTE = 2.0
# Each waiting request holds a connection: as soon as they fill this time, no more are needed.
_ENOUGH_S = 0.04
# No request need be ready earlier than this before it may leave. At a slow rate it would wait
# with its connection until it times out, and so would every request after it.
_READY_S = 0.25
HELD_S = 1.0
"""A seat is held at least this long from the turn on; the write must begin within this time."""


class Departures:
    """Decides at which moment a request may be written to its connection.

    Args:
        rate_per_s: The limit. A fraction allows the next whole number in one second: 2.5 per second
            are one every 0.4 seconds, and three of those touch a second.
        clock: Time.
    """

    def __init__(self, rate_per_s: float, clock: Clock) -> None:
        self._clock = clock
        self._seats = math.ceil(rate_per_s)  # so that the period is never shorter than a second
        self._period_s = self._seats / rate_per_s * (1.0 + _RESERVE)
        self._gap_s = (1.0 + _RESERVE + _SLACK) / rate_per_s
        self.lag_s = max(_LAG_S, _LAG_REQUESTS * self._gap_s)
        """Pauses up to this length are made up for."""
        self._free_at: list[float] = []  # by seat; unused seats are not in it yet
        self._next_seat = 0
        self._last_due = self._last_slot = -math.inf
        self._waiting = 0

    def take(self) -> int | None:
        """Return a seat if a request may leave now, or None: then await :meth:`turn`."""
        if self._soonest() > self._clock.monotonic():
            return None
        self._take_slot()
        seat = self._take_seat()
        self.left(seat)
        return seat

    def _soonest(self) -> float:
        """Return the instant from which on one more request may leave."""
        seat_free_at = (
            self._free_at[self._next_seat] if self._next_seat < len(self._free_at) else -math.inf
        )
        return max(
            self._last_due + self._gap_s, self._last_slot + self._gap_s / _HASTE, seat_free_at
        )

    async def turn(self) -> int:
        """Wait for the moment to leave, and return the seat.

        The caller writes before anything else, and then calls :meth:`left`.
        """
        seat, slot = self._take_seat(), self._take_slot()
        self._waiting += 1
        try:
            while (wait_s := max(slot, self._free_at[seat]) - self._clock.monotonic()) > 0:
                await self._clock.sleep(max(wait_s, _TICK_S))
        finally:
            self._waiting -= 1
        self.left(seat)  # taken from here on
        return seat

    def left(self, seat: int) -> None:
        """Free the seat one period from now: the write is done."""
        self._free_at[seat] = self._clock.monotonic() + self._period_s

    def enough_for_s(self) -> float:
        """Return the time for which no permit is needed; 0 or less if one is needed now.

        None is needed while enough requests wait for their turn, or the next turn is far off.
        """
        queue_s = self._waiting * self._gap_s - _ENOUGH_S if self._waiting else 0.0
        return max(queue_s, self._soonest() - self._clock.monotonic() - _READY_S)

    def _take_seat(self) -> int:
        seat = self._next_seat
        self._next_seat = (seat + 1) % self._seats
        if seat == len(self._free_at):
            self._free_at.append(-math.inf)
        return seat

    def _take_slot(self) -> float:
        now, due = self._clock.monotonic(), self._last_due + self._gap_s
        self._last_due = due if due > now - self.lag_s else now
        self._last_slot = max(self._last_due, now, self._last_slot + self._gap_s / _HASTE)
        return self._last_slot
