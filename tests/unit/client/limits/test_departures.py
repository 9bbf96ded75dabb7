"""No second has more departures than the limit, whatever the pauses, and few have fewer."""

from __future__ import annotations

import asyncio
import math
import random
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.client.limits.departures import Departures
from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.testing.loop import LoopClock, VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

RATES = [0.5, 1, 2.5, 7, 10, 40, 99.5, 100, 300]
# Largest difference between the delays of two requests; a little less than the reserve.
JITTER_S = 0.005


def run(scene: Callable[[VirtualTimeLoop, LoopClock], Coroutine[None, None, None]]) -> None:
    """Play a scene in virtual time; ``loop.advance`` is a pause of the whole process."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        runner.run(scene(loop, LoopClock(loop)))


def most_in_a_second(instants: list[float]) -> int:
    """Return the largest number of these sorted instants in any second, its end excluded."""
    most, first = 0, 0
    for last, instant in enumerate(instants):
        while instants[first] <= instant - 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


def mean_per_s(instants: list[float]) -> float:
    return (len(instants) - 1) / (instants[-1] - instants[0])


async def leave(
    departures: Departures, loop: VirtualTimeLoop, left: list[float], held_up_s: float = 0.0
) -> None:
    """Send one request; the write lies in the middle of ``held_up_s`` after its turn."""
    seat, asked_at = departures.take(), loop.time()
    if seat is None:
        seat = await departures.turn()
        assert loop.time() > asked_at, "whose moment has come need not wait for it"
    loop.advance(held_up_s / 2)
    left.append(loop.time())
    loop.advance(held_up_s / 2)
    departures.left(seat)


PAUSES = st.lists(st.tuples(st.floats(0.0, 4.0), st.floats(0.0, 0.8)), max_size=12)


@settings(max_examples=120, deadline=None)
@given(rate=st.sampled_from(RATES), pauses=PAUSES, seed=st.integers(0, 1000), cancels=st.booleans())
def test_no_second_has_more_departures_than_the_limit_wherever_the_process_is_held_up(
    rate: float, pauses: list[tuple[float, float]], seed: int, cancels: bool
) -> None:
    """With bursts, pauses at any time and within the write, cancelled requests, and jitter."""
    rng = random.Random(seed)
    left: list[float] = []

    async def scene(loop: VirtualTimeLoop, clock: LoopClock) -> None:
        departures = Departures(rate, clock)
        for at, length_s in pauses:
            loop.call_at(at, loop.advance, length_s)
        tasks: list[asyncio.Task[None]] = []
        for _ in range(12):
            held_up = [
                rng.choice([0.0, 0.0, 0.0, 0.0002, 0.02])
                for _ in range(max(1, int(rate * rng.random())))
            ]
            tasks += [
                asyncio.create_task(leave(departures, loop, left, held_up_s))
                for held_up_s in held_up
            ]
            if cancels:
                loop.call_later(rng.random(), rng.choice(tasks).cancel)
            await clock.sleep(rng.random() * 0.8)
        await asyncio.wait(tasks, timeout=20.0 + 20.0 / rate)
        for task in tasks:
            task.cancel()

    run(scene)

    arrived = sorted(at + rng.uniform(0.0, JITTER_S) for at in left)
    assert most_in_a_second(arrived) <= math.ceil(rate)


async def feed(
    limiter: AdaptiveLimiter,
    loop: VirtualTimeLoop,
    clock: LoopClock,
    left: list[float],
    for_s: float,
    sync_s: float,
) -> None:
    """Take permits with one waiter as a run does, sync them, and send each a moment later."""
    departures = limiter.space()
    rng = random.Random(7)
    end = loop.time() + for_s
    async with asyncio.TaskGroup() as requests:
        while loop.time() < end:
            await limiter.acquire()
            batch = 1
            while batch < 64 and limiter.try_acquire():
                batch += 1
            await clock.sleep(rng.uniform(0.2, 1.0) * sync_s)
            for _ in range(batch):
                loop.advance(0.0001)
                requests.create_task(leave(departures, loop, left))


@pytest.mark.parametrize("rate", [0.5, 1, 2.5, 10, 99.5, 100, 1000])
@pytest.mark.parametrize("sync_s", [0.001, 0.03], ids=["fast disk", "slow disk"])
def test_a_run_leaves_at_99_to_100_percent_of_the_limit_and_never_above_it(
    rate: float, sync_s: float
) -> None:
    left: list[float] = []

    async def scene(loop: VirtualTimeLoop, clock: LoopClock) -> None:
        await feed(
            AdaptiveLimiter(rate, clock), loop, clock, left, 8.0 if rate >= 10 else 200.0, sync_s
        )

    run(scene)

    assert most_in_a_second(left) <= math.ceil(rate)
    assert 0.99 * rate <= mean_per_s(left) <= rate


@pytest.mark.parametrize(("pause_s", "times"), [(0.01, 24), (0.03, 8), (0.05, 2)])
def test_a_short_pause_is_made_up_for_within_the_limit(pause_s: float, times: int) -> None:
    left: list[float] = []

    async def scene(loop: VirtualTimeLoop, clock: LoopClock) -> None:
        for number in range(times):
            loop.call_at(1.0 + number * 8.0 / times, loop.advance, pause_s)
        await feed(AdaptiveLimiter(1000, clock), loop, clock, left, 12.0, 0.005)

    run(scene)

    assert most_in_a_second(left) <= 1000
    assert 990 <= mean_per_s(left) <= 1000


def test_departures_are_spaced_evenly_from_the_first_one_and_after_silence() -> None:
    left: list[float] = []

    async def scene(loop: VirtualTimeLoop, clock: LoopClock) -> None:
        departures = Departures(100, clock)
        for _ in range(2):
            await asyncio.gather(*(leave(departures, loop, left) for _ in range(20)))
            await clock.sleep(5.0)

    run(scene)

    gaps = [later - earlier for earlier, later in pairwise(left)]
    assert gaps[19] == pytest.approx(5.0), "the silence"
    assert max(gaps[:19] + gaps[20:]) < 0.012
    assert min(gaps[:19] + gaps[20:]) > 0.008


def test_a_pause_is_made_up_for_at_twice_the_rate_and_not_at_once() -> None:
    left: list[float] = []

    async def scene(loop: VirtualTimeLoop, clock: LoopClock) -> None:
        departures = Departures(100, clock)
        await leave(departures, loop, left)
        loop.advance(0.095)
        await asyncio.gather(*(leave(departures, loop, left) for _ in range(30)))

    run(scene)

    gaps = [later - earlier for earlier, later in pairwise(left[1:])]
    assert min(gaps) > 0.004
    assert left[10] == pytest.approx(0.14, abs=0.002), "at twice the rate at first"
    assert left[29] == pytest.approx(0.292, abs=0.002), "and on time again"


def test_a_long_pause_is_lost_and_recurs_at_most_with_the_length_of_the_queue() -> None:
    left: list[float] = []

    async def scene(loop: VirtualTimeLoop, clock: LoopClock) -> None:
        loop.call_at(2.0, loop.advance, 0.4)
        await feed(AdaptiveLimiter(100, clock), loop, clock, left, 8.0, 0.005)

    run(scene)

    gaps = [later - earlier for earlier, later in pairwise(left) if earlier > 2.5]
    assert most_in_a_second(left) <= 100
    assert sum(at < 8.0 for at in left) == pytest.approx(99.2 * 7.6, abs=11)
    assert max(gaps) < 0.08


def test_no_permit_is_given_while_enough_requests_wait_to_leave() -> None:
    async def scene(loop: VirtualTimeLoop, clock: LoopClock) -> None:
        limiter = AdaptiveLimiter(100, clock)
        departures = limiter.space()
        left: list[float] = []
        async with asyncio.TaskGroup() as requests:
            for _ in range(20):
                requests.create_task(leave(departures, loop, left))
            await clock.sleep(0.0)

            assert not limiter.try_acquire()
            await limiter.acquire()
            assert 14 <= len(left) <= 17

    run(scene)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.9, 2.0])
def test_at_a_slow_rate_no_request_times_out_while_it_waits_for_its_turn(
    rate: float,
) -> None:
    """A job with a permit long before its turn would time out, and so would all later ones."""
    left: list[float] = []

    async def scene(loop: VirtualTimeLoop, clock: LoopClock) -> None:
        limiter = AdaptiveLimiter(rate, clock)
        departures = limiter.space()
        for _ in range(8):
            await limiter.acquire()
            async with asyncio.timeout(0.5):
                await leave(departures, loop, left)

    run(scene)

    assert 0.99 * rate <= mean_per_s(left) <= rate


def test_a_request_cancelled_while_it_waits_frees_its_seat() -> None:
    left: list[float] = []

    async def scene(loop: VirtualTimeLoop, clock: LoopClock) -> None:
        departures = Departures(1, clock)
        await leave(departures, loop, left)
        waiting = asyncio.create_task(leave(departures, loop, left))
        await clock.sleep(0.5)
        waiting.cancel()
        await clock.sleep(2.0)
        await leave(departures, loop, left)

    run(scene)

    assert departure_times(left) == [0.0, 2.5]


def test_a_seat_is_taken_from_the_turn_on_even_while_the_write_is_not_done() -> None:
    async def scene(loop: VirtualTimeLoop, clock: LoopClock) -> None:
        departures = Departures(1, clock)
        departures.left(await departures.turn())
        first, second = (asyncio.create_task(departures.turn()) for _ in range(2))
        await clock.sleep(0.0)
        loop.advance(5.0)
        await first
        await clock.sleep(1.0)

        assert not second.done(), "both were due, and the first has its turn and has not left"
        await second

    run(scene)


def departure_times(left: list[float]) -> list[float]:
    return [round(at - left[0], 2) for at in left]
