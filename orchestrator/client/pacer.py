"""The moments at which requests really leave: evenly spaced, and never more than the limit in any second.

A permit says that a request may be sent; the sync of its intent, its signature and perhaps a new connection still lie before it. So what
keeps the limit is asked last, when the next thing that happens is the write to the socket, and counts from when that write was done.

The guarantee. There are as many *seats* as requests may leave in one period, which is a second and :data:`_RESERVE` of it. Requests take
the seats in turn, each leaves from its seat, and a seat is free again one period after the write of the one who left from it was done. So
two writes from one seat begin at least a period apart, and no period, wherever it begins, contains more writes than there are seats. This
does not depend on when tasks wake, in what order they leave, or where the process is held up. What the way to the service does to the
spacing is up to the reserve: the service sees no more than the limit as long as no request overtakes another by more than that.

The mean. Requests are due at even distances, a little wider than the seats alone would have it, by :data:`_SLACK`: timers are late by less
than this difference, so their lateness does not add up from one second to the next. What a short pause of the process held up is made up
for at twice the rate, as far as there are seats, and what follows is on time again: so a pause of *d* seconds costs about *d* squared in
time, a tenth of a millisecond for 10 milliseconds. A longer pause is lost. Made up for in the same way it would come back every period,
as a gap and a rush, for the seats that were left late are free late.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.domain.ports import Clock

# Together they stay below one percent, the promise about the mean, and leave a little of it for pauses.
_RESERVE = 0.0055
_SLACK = 0.0025
# Event loops count in milliseconds: a shorter sleep would end at once, again and again.
_TICK_S = 0.001
# Pauses up to this length, or up to so many requests, are made up for. A longer one is not, and neither is a time in which there was
# nothing to send: nothing is saved up.
_LAG_S = 0.25
_LAG_REQUESTS = 10
# How much faster than the rate a pause is made up for.
_HASTE = 2.0
# Those who wait hold a connection each: when they fill this time, no more are needed.
_ENOUGH_S = 0.04
# No request need be ready sooner than this before it may leave. At a slow rate it would wait for a long time with its connection, be given
# up, and the next one after it: then none would ever leave.
_READY_S = 0.25
HELD_S = 1.0
"""A seat is held at least this long from the turn on; the write must be done within this time."""


class Departures:
    """Says when a request may be written to its connection.

    Args:
        rate_per_s: The limit. Of a fraction, as many as the next whole number may fall into one second: 2.5 per second are one every
            0.4 seconds, and three of those touch a second.
        clock: Time.
    """

    def __init__(self, rate_per_s: float, clock: Clock) -> None:
        self._clock = clock
        self._seats = math.ceil(rate_per_s)  # so that the period is never shorter than a second
        self._period_s = self._seats / rate_per_s * (1.0 + _RESERVE)
        self._gap_s = (1.0 + _RESERVE + _SLACK) / rate_per_s
        self.lag_s = max(_LAG_S, _LAG_REQUESTS * self._gap_s)
        """Pauses up to this length are made up for."""
        self._free_at: list[float] = []  # by seat; a seat that was never used is not in it yet
        self._next_seat = 0
        self._last_due = self._last_slot = -math.inf
        self._waiting = 0

    def take(self) -> int | None:
        """The seat, if the moment has come already; as :meth:`turn` otherwise, which is for those who must wait."""
        if self._soonest() > self._clock.monotonic():
            return None
        self._take_slot()
        seat = self._take_seat()
        self.left(seat)
        return seat

    def _soonest(self) -> float:
        """The instant from which on one more request could leave."""
        seat_free_at = (
            self._free_at[self._next_seat] if self._next_seat < len(self._free_at) else -math.inf
        )
        return max(
            self._last_due + self._gap_s, self._last_slot + self._gap_s / _HASTE, seat_free_at
        )

    async def turn(self) -> int:
        """Wait for the moment to leave; gives the seat. The caller writes before anything else, and then tells :meth:`left`."""
        seat, slot = self._take_seat(), self._take_slot()
        self._waiting += 1
        try:
            while (wait_s := max(slot, self._free_at[seat]) - self._clock.monotonic()) > 0:
                await self._clock.sleep(max(wait_s, _TICK_S))
        finally:
            self._waiting -= 1
        self.left(seat)  # from here on nobody else may have it
        return seat

    def left(self, seat: int) -> None:
        """The write is done: the seat is free one period from now."""
        self._free_at[seat] = self._clock.monotonic() + self._period_s

    def enough_for_s(self) -> float:
        """So long no permit need be given: enough requests wait for their turn, or the next turn is far off; 0 or less: now."""
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
