"""The rate limit of one account and one kind of request: a fixed ceiling, and an adaptive rate.

Two parts work together. The *slice* gives a twentieth of the rate in a twentieth of a second, so
that requests flow instead of coming in bursts. The *seats* give at most the configured rate in
any second, and other processes of the account may have some of them. Both are stretched by half a
percent, so that network jitter does not show the service more than the limit. asyncio-throttle lets
the one waiter through when there is a permit.

The work between a permit and the departure of its request takes a varying time. For submits, where
that matters, :mod:`.departures` keeps the limit at the departure itself, and the
permits only have to be there in time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson
from asyncio_throttle.throttler import Throttler

from orchestrator.client.limits.departures import PERIOD_FACTOR, Departures
from orchestrator.client.limits.seats import Seats
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.ports import Clock

_STRETCH = 1.005
_SLICES_PER_S = 20
_LOOK_S = 0.02  # while other processes have all seats, look for one this often
# A permit may count from this long before it was taken, so that a late wake-up of the event loop
# does not slow the whole second down. It is half of the stretch of a second; the other half is left
# for network jitter.
_SECOND_LAG_S = 0.0025
# Below the resolution of any timer; keeps rounding errors from causing sleeps of no length.
_EPSILON_S = 1e-6
_RETRY_S = 0.001  # pause if the permit was taken in between

_DECREASE = 0.7
# Answers within this time of a decrease belong to requests that left before it: one burst, one
# decrease.
_BURST_S = 1.0
# After a decrease the rate stays the same for this time, then grows by this share of the ceiling
# per second: from 70 % back to 100 % in 17 s.
_HOLD_S = 2.0
_RECOVER_PER_S = 0.02
# The rate never falls below this share of the ceiling: only requests show that the service has
# recovered.
_FLOOR_SHARE = 0.01
# Long enough for the next nightly run to begin at the rate where the last one ended.
_FORGET_AFTER_S = 48 * 3600.0


class _Window:
    """At most ``limit`` permits in any period: permit *k* is free a period after *k - limit*."""

    def __init__(self, limit: int, period_s: float, lag_s: float) -> None:
        self.limit = limit
        self.period_s = period_s
        self.lag_s = lag_s
        self._taken: deque[float] = deque()

    def free_at(self) -> float:
        """Return the instant from which on one more permit is free."""
        taken = self._taken
        return taken[-self.limit] + self.period_s if len(taken) >= self.limit else -math.inf

    def take(self, free_at: float, now: float) -> None:
        """Take a permit free since ``free_at``; it counts from then, but at most ``lag_s`` ago."""
        self._taken.append(max(free_at, now - self.lag_s))
        while len(self._taken) > self.limit:
            self._taken.popleft()


class _Gate(Throttler):
    """asyncio-throttle for the one waiter, driven by the windows.

    The original forgets an entry when its period has passed by the system's clock. This one
    keeps one entry, the last permit, and forgets it when the windows have a permit to give.
    """

    def __init__(self, is_free: Callable[[], bool]) -> None:
        super().__init__(rate_limit=1, period=-1.0, retry_interval=_RETRY_S)
        self._is_free = is_free

    def flush(self) -> None:
        """Make room if a permit is free."""
        if self._is_free():
            super().flush()  # type: ignore[no-untyped-call]  # the library has no types


@dataclass(frozen=True, slots=True)
class Learned:
    """Lessons from the answers of an account: its rate, and when it last asked for less."""

    rate_per_s: float
    decreased_at: float
    silent_until: float


class AdaptiveLimiter:
    """``ports.Limiter`` whose rate falls if the service throttles, and recovers slowly.

    Only one task may wait in :meth:`acquire` (the dispatcher); any may report answers.

    Args:
        rate_per_s: The ceiling; may be a fraction, ``0.5`` is one request every two seconds.
        clock: Time.

    Raises:
        ConfigError: If the rate is not a positive number.
    """

    def __init__(self, rate_per_s: float, clock: Clock) -> None:
        if not (math.isfinite(rate_per_s) and rate_per_s > 0):
            raise ConfigError(
                f"A rate limit must be a positive number of requests per second, not {rate_per_s}."
            )
        self._clock = clock
        self._ceiling = rate_per_s
        self._departures: Departures | None = None
        self._rate = rate_per_s
        self._limit = rate_per_s
        self._permits = Seats(math.ceil(rate_per_s))
        self._has_waited = self._is_waiting = False
        self._slice = _Window(1, 1.0, lag_s=0.0)
        self._gate = _Gate(self._is_free)
        self._set_rate(rate_per_s)
        self._silent_until = -math.inf
        self._decreased_at = -math.inf
        self._credited_at = clock.monotonic()

    @property
    def rate_per_s(self) -> float:
        """Rate in force."""
        return self._rate

    @property
    def ceiling_per_s(self) -> float:
        """Configured rate."""
        return self._ceiling

    async def acquire(self) -> None:
        """Wait until one more request may leave, and take its permit."""
        self._is_waiting = True
        try:
            while True:
                while (wait_s := self._wait_s()) > 0:
                    self._has_waited = True
                    await self._clock.sleep(min(wait_s, _LOOK_S) if self.is_shared else wait_s)
                async with self._gate:
                    if self._take():
                        return
        finally:
            self._is_waiting = False

    def try_acquire(self) -> bool:
        """Take a permit if one is free right now."""
        return self._is_free() and self._take()

    def space(self) -> Departures:
        """Keep the limit by departures from now on; whatever writes the requests must use them."""
        if self._departures is None:
            self._departures = Departures(self._ceiling, self._clock)
            self._set_rate(self._rate)
        return self._departures

    # --- sharing: see shared_limit.py

    @property
    def seats(self) -> Seats:
        """The seats that keep the limit: of the departures if there are any, else of permits."""
        return self._permits if self._departures is None else self._departures.seats

    @property
    def is_shared(self) -> bool:
        """True if other processes may have a part of the limit."""
        return self.seats.valid_until < math.inf

    @property
    def period_s(self) -> float:
        """Time after which a seat is free again."""
        return math.ceil(self._limit) / self._limit * self.period_factor

    @property
    def period_factor(self) -> float:
        """Length of that time, as a multiple of what the limit requires."""
        return _STRETCH if self._departures is None else PERIOD_FACTOR

    def unshare(self) -> None:
        """Keep the whole limit by this process."""
        self.seats.lose()
        self.seats.valid_until = math.inf
        self.seats.add_unused(math.ceil(self._ceiling))
        self.adopt(self._ceiling, None)

    @property
    def is_waiting(self) -> bool:
        """True if a request waits."""
        return self._is_waiting or (self._departures is not None and self._departures.has_queue)

    def has_waited(self) -> bool:
        """Return True if a request has waited since the last call, or waits now."""
        waited = self._has_waited or self.is_waiting
        self._has_waited = False
        return waited

    def learned(self) -> Learned:
        """Return what the answers have shown about the account."""
        return Learned(self._rate, self._decreased_at, self._silent_until)

    def adopt(self, limit_per_s: float, learned: Learned | None) -> None:
        """Go on with the account's limit, this process's seats, and what all have learned."""
        self._limit = min(limit_per_s, self._ceiling)
        if learned is not None:
            self._rate = learned.rate_per_s
            self._decreased_at = max(self._decreased_at, learned.decreased_at)
            self._silent_until = max(self._silent_until, learned.silent_until)
        if self._departures is not None:
            self._departures.set_rate(self._limit)
        self._set_rate(self._rate)

    def throttled(self, retry_after_s: float | None = None) -> None:
        """Slow down once per burst of such answers; send nothing for ``retry_after_s`` seconds."""
        now = self._clock.monotonic()
        if retry_after_s:
            self._silent_until = max(self._silent_until, now + retry_after_s)
        if now - self._decreased_at >= _BURST_S:
            self._decreased_at = now
            self._set_rate(max(self._rate * _DECREASE, self._ceiling * _FLOOR_SHARE))

    def accepted(self) -> None:
        """Raise the rate by the time since the last answer, of which at most a second counts."""
        now = self._clock.monotonic()
        earned_s = min(now - self._credited_at, 1.0)
        self._credited_at = now
        if self._rate < self._ceiling and now - self._decreased_at >= _HOLD_S:
            self._set_rate(self._rate + self._ceiling * _RECOVER_PER_S * earned_s)

    def snapshot(self) -> bytes:
        """Return the learned rate and silence, for :meth:`restore` in a later run."""
        now = self._clock.now()
        silent_s = max(0.0, self._silent_until - self._clock.monotonic())
        return orjson.dumps({"rate_per_s": self._rate, "silent_until": now + silent_s, "at": now})

    def restore(self, raw: bytes | None) -> None:
        """Start from the snapshot of a recent run; ignore one that is old or unreadable."""
        try:
            kept = orjson.loads(raw or b"")
            rate, silent_until, at = (
                float(kept["rate_per_s"]),
                float(kept["silent_until"]),
                float(kept["at"]),
            )
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            return
        now = self._clock.now()
        silent_s = silent_until - now
        if 0 < silent_s <= silent_until - at:  # longer means that our clock was set back
            self._silent_until = self._clock.monotonic() + silent_s
        if 0 <= now - at < _FORGET_AFTER_S:
            # Other runs of the account learn it, unless they have learned something since.
            learned_at = self._clock.monotonic() - max(now - at, _HOLD_S)
            self._decreased_at = max(self._decreased_at, learned_at)
            self._set_rate(max(rate, self._ceiling * _FLOOR_SHARE))

    def _wait_s(self) -> float:
        """Return the time until a permit is free; 0 if one is free now."""
        now = self._clock.monotonic()
        wait_s = self._free_at(now) - now
        if self._departures is not None:
            wait_s = max(wait_s, self._departures.enough_for_s(now))
        return wait_s if wait_s > _EPSILON_S else 0.0

    def _is_free(self) -> bool:
        return self._wait_s() == 0

    def _free_at(self, now: float) -> float:
        free_at = max(self._slice.free_at(), self._silent_until)
        if self._departures is None:
            free_at = max(free_at, self._permits.free_at(now))
        return free_at

    def _take(self) -> bool:
        """Take a permit; return False if it is no longer there, because the process was stopped."""
        now = self._clock.monotonic()
        free_at = self._free_at(now)
        if free_at > now + _EPSILON_S:
            return False
        self._slice.take(free_at, now)
        if self._departures is None:
            self._permits.take(now).free_at = max(free_at, now - _SECOND_LAG_S) + self.period_s
        return True

    def _set_rate(self, rate_per_s: float) -> None:
        self._rate = min(rate_per_s, self._ceiling)
        # This process's part of the rate follows from its part of the seats.
        part = max(len(self.seats), 1) / math.ceil(self._limit)
        own_per_s = min(self._rate, self._limit) * min(part, 1.0)
        self._slice.limit = max(1, int(own_per_s / _SLICES_PER_S))
        self._slice.period_s = self._slice.limit / own_per_s * _STRETCH
        # Up to half a slice is made up for, because the seats keep the limit; with departures,
        # which keep it themselves, as much as they make up for.
        self._slice.lag_s = (
            self._slice.period_s / 2 if self._departures is None else self._departures.lag_s
        )
