"""The limiter gives the configured rate, never more, and less if the service throttles."""

from __future__ import annotations

import asyncio
import math
import random

import pytest

from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.errors import ConfigError


class StepClock:
    """Time that moves with each sleep, and oversleeps as an event loop does."""

    def __init__(self, oversleep_s: float = 0.0, seed: int = 0) -> None:
        self.time = 1000.0
        self.oversleep_s = oversleep_s
        self.rng = random.Random(seed)
        self.sleeps = 0

    def now(self) -> float:
        return self.time + 1_700_000_000.0

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, delay_s: float) -> None:
        assert delay_s > 0
        self.sleeps += 1
        self.time += delay_s + self.rng.uniform(0.0, self.oversleep_s)
        await asyncio.sleep(0)  # noqa: TID251 - lets others run; no time passes


async def permits(limiter: AdaptiveLimiter, clock: StepClock, for_s: float) -> list[float]:
    """Return the instants of the permits given in ``for_s`` seconds."""
    start = clock.time
    given: list[float] = []
    while True:
        await limiter.acquire()
        if clock.time > start + for_s:
            return given
        given.append(clock.time)


def most_in_a_second(instants: list[float]) -> int:
    """Return the largest number of permits in any second."""
    most, first = 0, 0
    for last, instant in enumerate(instants):
        while instants[first] < instant - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("rate", [0.5, 1, 2.5, 7, 10, 23, 25, 99.5, 100, 997, 1000])
@pytest.mark.parametrize(
    "oversleep_s", [0.0, 0.001, 0.002], ids=["exact", "1 ms late", "2 ms late"]
)
async def test_the_rate_is_99_to_100_percent_of_the_configured_one_and_never_more_in_any_second(
    rate: float, oversleep_s: float
) -> None:
    clock = StepClock(oversleep_s)
    limiter = AdaptiveLimiter(rate, clock)
    for_s = 100.0 if rate < 100 else 20.0

    given = await permits(limiter, clock, for_s)

    assert most_in_a_second(given) <= math.ceil(rate)
    per_s = (len(given) - 1) / (given[-1] - given[0])
    assert 0.99 * rate <= per_s <= 1.002 * rate


@pytest.mark.parametrize("rate", [100, 1000])
async def test_a_loop_that_is_late_by_ten_milliseconds_costs_less_than_one_percent(
    rate: float,
) -> None:
    """The slices make up for it within the second; the second does not."""
    clock = StepClock(0.010)
    given = await permits(AdaptiveLimiter(rate, clock), clock, 20.0)

    assert most_in_a_second(given) <= rate
    assert len(given) >= 0.98 * rate * 20.0


async def test_permits_come_in_twentieths_of_the_rate_and_not_a_seconds_worth_at_once() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(100, clock)

    at_once = 0
    while limiter.try_acquire():
        at_once += 1

    assert at_once == 5


async def test_one_waiter_wakes_once_per_slice() -> None:
    clock = StepClock()
    await permits(AdaptiveLimiter(1000, clock), clock, 10.0)

    assert clock.sleeps <= 201


async def test_an_idle_limiter_saves_nothing_up() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(50, clock)
    await permits(limiter, clock, 1.0)
    clock.time += 3600.0

    given = await permits(limiter, clock, 5.0)

    assert most_in_a_second(given) <= 50


async def test_try_acquire_takes_nothing_when_nothing_is_free() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(1, clock)

    assert limiter.try_acquire()
    assert not limiter.try_acquire()
    clock.time += 1.005
    assert limiter.try_acquire()


async def test_a_burst_of_refusals_decreases_the_rate_once() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(100, clock)

    for _ in range(64):
        limiter.throttled()
        clock.time += 0.01

    assert limiter.rate_per_s == pytest.approx(70)
    clock.time += 1.0
    limiter.throttled()
    assert limiter.rate_per_s == pytest.approx(49)


async def test_a_decreased_rate_is_what_is_given() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(100, clock)
    limiter.throttled()

    given = await permits(limiter, clock, 20.0)

    assert 0.99 * 70 * 20 <= len(given) <= 70 * 20 + 10


async def test_the_rate_recovers_with_time_and_answers_up_to_the_ceiling_and_not_beyond() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(100, clock)
    limiter.throttled()
    seen = []

    for _ in range(40):
        clock.time += 0.5
        limiter.accepted()
        seen.append(limiter.rate_per_s)

    assert seen[0] == pytest.approx(70), "it holds still for a moment"
    assert seen == sorted(seen)
    assert seen[20] < 95, "it grows slowly"
    assert seen[-1] == 100


async def test_many_answers_at_once_recover_no_more_than_their_time() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(100, clock)
    limiter.throttled()
    clock.time += 600.0

    for _ in range(1000):
        limiter.accepted()

    assert limiter.rate_per_s == pytest.approx(72), "ten idle minutes earn what one second earns"


async def test_the_rate_settles_below_an_unknown_limit_of_the_service() -> None:
    """A service that takes 40/s of 100/s refuses less than a tenth, and is two thirds busy."""
    clock = StepClock()
    limiter = AdaptiveLimiter(100, clock)
    taken: list[float] = []
    refused = 0
    end = clock.time + 300.0
    while clock.time < end:
        await limiter.acquire()
        recent = sum(1 for instant in taken[-60:] if instant > clock.time - 1.0)
        if recent < 40:
            taken.append(clock.time)
            limiter.accepted()
        else:
            refused += 1
            limiter.throttled()

    assert len(taken) >= 300 * 40 * 0.66
    assert refused <= len(taken) * 0.1


async def test_the_rate_never_falls_so_low_that_recovery_would_go_unnoticed() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(10, clock)
    for _ in range(100):
        limiter.throttled()
        clock.time += 1.5

    assert limiter.rate_per_s == pytest.approx(0.1)


async def test_retry_after_is_a_floor_of_silence() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(100, clock)
    assert limiter.try_acquire()
    limiter.throttled(30.0)
    limiter.throttled(5.0)
    start = clock.time

    assert not limiter.try_acquire()
    await limiter.acquire()

    assert clock.time == pytest.approx(start + 30.0)


async def test_a_silence_that_begins_during_a_wait_also_holds_for_that_wait() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(1, clock)
    await limiter.acquire()
    start = clock.time
    waiter = asyncio.ensure_future(limiter.acquire())
    await asyncio.sleep(0)  # noqa: TID251 - lets the waiter begin; no time passes
    limiter.throttled(60.0)

    await waiter

    assert clock.time >= start + 60.0


async def test_a_learned_rate_is_kept_until_the_next_night() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(100, clock)
    limiter.throttled(20.0)
    kept = limiter.snapshot()

    clock.time += 10.0
    soon = AdaptiveLimiter(100, clock)
    soon.restore(kept)
    clock.time += 3 * 86400.0
    late = AdaptiveLimiter(100, clock)
    late.restore(kept)

    assert soon.rate_per_s == pytest.approx(70)
    assert late.rate_per_s == 100
    assert late.try_acquire()


async def test_a_remembered_silence_continues() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(100, clock)
    limiter.throttled(20.0)
    kept = limiter.snapshot()
    clock.time += 5.0
    again = AdaptiveLimiter(100, clock)
    again.restore(kept)
    start = clock.time

    await again.acquire()

    assert clock.time == pytest.approx(start + 15.0)


async def test_a_remembered_rate_never_passes_a_lower_ceiling() -> None:
    clock = StepClock()
    kept = AdaptiveLimiter(1000, clock).snapshot()
    limiter = AdaptiveLimiter(10, clock)
    limiter.restore(kept)

    assert limiter.rate_per_s == limiter.ceiling_per_s == 10


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        b"x",
        b"[]",
        b"{}",
        b'{"rate_per_s": "fast", "silent_until": 0, "at": 0}',
        b'{"rate_per_s": 1, "silent_until": null, "at": 0}',
    ],
)
async def test_an_unreadable_snapshot_is_ignored(raw: bytes | None) -> None:
    limiter = AdaptiveLimiter(10, StepClock())
    limiter.restore(raw)

    assert limiter.rate_per_s == 10
    assert limiter.try_acquire()


async def test_a_clock_that_was_set_back_does_not_make_a_remembered_silence_longer() -> None:
    clock = StepClock()
    limiter = AdaptiveLimiter(10, clock)
    limiter.throttled(60.0)
    kept = limiter.snapshot()
    clock.time -= 900.0
    again = AdaptiveLimiter(10, clock)
    again.restore(kept)

    assert again.try_acquire()


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_an_invalid_rate_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="positive"):
        AdaptiveLimiter(rate, StepClock())


class StoppingClock(StepClock):
    """Time that jumps once, after it was read a number of times."""

    stops_after = 0
    stop_s = 0.0

    def monotonic(self) -> float:
        now = self.time
        self.stops_after -= 1
        if self.stops_after == 0:
            self.time += self.stop_s
        return now


async def test_a_process_that_is_stopped_between_the_look_and_the_taking_takes_nothing() -> None:
    """Its seats may belong to others when it continues."""
    clock = StoppingClock()
    limiter = AdaptiveLimiter(10, clock)
    limiter.seats.valid_until = clock.time + 0.6
    clock.stops_after, clock.stop_s = 1, 5.0

    assert not limiter.try_acquire()
    assert limiter.seats.taken == 0


async def test_a_process_that_is_stopped_before_a_write_needs_another_seat() -> None:
    clock = StoppingClock()
    departures = AdaptiveLimiter(10, clock).space()
    departures.seats.valid_until = clock.time + 0.6
    clock.stops_after, clock.stop_s = 1, 5.0

    seat = departures.take()

    assert seat is not None
    assert not departures.may_leave(seat)
    assert departures.take() is None
