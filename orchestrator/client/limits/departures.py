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

from orchestrator.client.limits.seats import HELD_S, Seats

if TYPE_CHECKING:
    from orchestrator.client.limits.seats import Seat
    from orchestrator.domain.ports import Clock

# Together they stay below one percent, the promise about the mean, and leave some of it for pauses.
_RESERVE = 0.0055
_SLACK = 0.0025
PERIOD_FACTOR = 1.0 + _RESERVE
"""Length of a period, as a multiple of what the limit requires."""
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
# While seats are shared with other processes, look for one this often.
_LOOK_S = 0.02


class Departures:
    """Decides at which moment a request may be written to its connection.

    Args:
        rate_per_s: The limit. A fraction allows the next whole number in one second: 2.5 per second
            are one every 0.4 seconds, and three of those touch a second.
        clock: Time.
    """

    def __init__(self, rate_per_s: float, clock: Clock) -> None:
        self._clock = clock
        self.seats = Seats(math.ceil(rate_per_s))
        """The seats of this process."""
        self._last_due = self._last_slot = -math.inf
        # The same of requests that have taken their seat: where others begin if the pace changes.
        self._gone_due = self._gone_slot = -math.inf
        self._waiting = 0
        self._pace = 0
        self._gap_s = 0.0
        self.set_rate(rate_per_s)

    def set_rate(self, rate_per_s: float) -> None:
        """Set the limit of the account; the seats of this process are its part of it."""
        whole = math.ceil(rate_per_s)  # so that the period is never shorter than a second
        self._period_s = whole / rate_per_s * PERIOD_FACTOR
        gap_s = whole / rate_per_s * (PERIOD_FACTOR + _SLACK) / max(len(self.seats), 1)
        if gap_s != self._gap_s:
            # Waiting requests take other moments: with one seat of a hundred, the tenth of them
            # would otherwise wait for ten seconds, whatever is received in the meantime.
            self._gap_s = gap_s
            self._pace += 1
            self._last_due, self._last_slot = self._gone_due, self._gone_slot
        self.lag_s = max(_LAG_S, _LAG_REQUESTS * self._gap_s)
        """Pauses up to this length are made up for."""

    @property
    def has_queue(self) -> bool:
        """True if a request waits for its turn."""
        return self._waiting > 0

    def take(self) -> Seat | None:
        """Return a seat if a request may leave now, or None: then await :meth:`turn`."""
        now = self._clock.monotonic()
        if self._soonest(now) > now:
            return None
        self._go(*self._take_slot(now))
        return self._take_seat(now)

    def _soonest(self, now: float) -> float:
        """Return the instant from which on one more request may leave."""
        return max(
            self._last_due + self._gap_s,
            self._last_slot + self._gap_s / _HASTE,
            self.seats.free_at(now),
        )

    async def turn(self) -> Seat:
        """Wait for the moment to leave, and return the seat.

        The caller asks :meth:`may_leave`, writes before anything else, and calls :meth:`left`.
        """
        pace = -1
        due = slot = 0.0
        self._waiting += 1
        try:
            # The seat is taken at the very instant at which it was found free: a process may be
            # stopped anywhere in between, until its seats are no longer its own.
            while True:
                now = self._clock.monotonic()
                if pace != self._pace:
                    pace, (due, slot) = self._pace, self._take_slot(now)
                if (wait_s := self._until(slot, now)) <= 0:
                    break
                await self._clock.sleep(max(wait_s, _TICK_S))
        finally:
            self._waiting -= 1
        self._go(due, slot)
        return self._take_seat(now)

    def may_leave(self, seat: Seat) -> bool:
        """Return True if the write may begin; if not, the request needs another seat."""
        now = self._clock.monotonic()
        return now < seat.may_move_at and self.seats.may_use(seat, now)

    def left(self, seat: Seat) -> None:
        """Free the seat one period from now: the write is done."""
        now = self._clock.monotonic()
        seat.free_at = now + self._period_s
        seat.may_move_at = now

    def enough_for_s(self, now: float) -> float:
        """Return the time for which no permit is needed; 0 or less if one is needed now.

        None is needed while enough requests wait for their turn, or the next turn is far off.
        """
        queue_s = self._waiting * self._gap_s - _ENOUGH_S if self._waiting else 0.0
        return max(queue_s, self._soonest(now) - now - _READY_S)

    def _until(self, slot: float, now: float) -> float:
        """Return the time to wait; while seats are shared, more may come earlier."""
        wait_s = max(slot, self.seats.free_at(now)) - now
        return wait_s if self.seats.valid_until == math.inf else min(wait_s, _LOOK_S)

    def _take_seat(self, now: float) -> Seat:
        """Take a seat; it is taken from here on, whether or not anything is written."""
        seat = self.seats.take(now)
        seat.free_at = now + self._period_s
        seat.may_move_at = now + HELD_S
        return seat

    def _take_slot(self, now: float) -> tuple[float, float]:
        """Return when one more request is due, and the moment at which it may leave."""
        due = self._last_due + self._gap_s
        seat_free_at = self.seats.free_at(now)
        if math.isfinite(seat_free_at):
            # Many seats may become free at once, when they come from another process. Requests that
            # wait for them leave evenly all the same.
            now = max(now, seat_free_at)
        self._last_due = due if due > now - self.lag_s else now
        self._last_slot = max(self._last_due, now, self._last_slot + self._gap_s / _HASTE)
        return self._last_due, self._last_slot

    def _go(self, due: float, slot: float) -> None:
        self._gone_due = max(self._gone_due, due)
        self._gone_slot = max(self._gone_slot, slot)
