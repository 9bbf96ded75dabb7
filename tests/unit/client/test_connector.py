"""A POST keeps the seat from which it leaves until it is written."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.client.connector import Sending
from orchestrator.client.limits.departures import Departures
from orchestrator.testing.loop import LoopClock, VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


def run(scene: Callable[[VirtualTimeLoop, Departures], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        runner.run(scene(loop, Departures(1, LoopClock(loop))))


async def write(sending: Sending, loop: VirtualTimeLoop, written: list[float]) -> None:
    await sending.keep_seat()
    written.append(loop.time())
    sending.leave()


def test_a_seat_is_free_one_period_after_the_write() -> None:
    written: list[float] = []

    async def scene(loop: VirtualTimeLoop, departures: Departures) -> None:
        first, second = Sending(departures, lambda: True), Sending(departures, lambda: True)
        await first.take_seat()
        loop.advance(0.5)
        await write(first, loop, written)
        await second.take_seat()
        await write(second, loop, written)

    run(scene)

    assert written[1] - written[0] > 1.0


def test_a_post_that_was_held_up_longer_than_its_seat_waits_for_another() -> None:
    written: list[float] = []

    async def scene(loop: VirtualTimeLoop, departures: Departures) -> None:
        late, next_one = Sending(departures, lambda: True), Sending(departures, lambda: True)
        await late.take_seat()
        loop.advance(3.0)
        await next_one.take_seat()
        await write(next_one, loop, written)
        await write(late, loop, written)

    run(scene)

    assert written[1] - written[0] > 1.0


def test_a_post_without_a_limit_leaves_at_once() -> None:
    written: list[float] = []

    async def scene(loop: VirtualTimeLoop, departures: Departures) -> None:
        for sending in (Sending(None, lambda: True), Sending(None, lambda: True)):
            await sending.take_seat()
            await write(sending, loop, written)

    run(scene)

    assert written[0] == written[1]
