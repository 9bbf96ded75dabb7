"""Processes that share a limit stay within it together, whatever happens to each of them."""

from __future__ import annotations

import asyncio
import math
import os
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.client.limits.shared_limit import SharedLimits
from orchestrator.client.limits.shelf import ShelfBusy
from orchestrator.testing.loop import LoopClock, VirtualTimeLoop
from tests.unit.client.limits.test_departures import mean_per_s, most_in_a_second

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class World:
    """A machine: its time, the shared state, and when requests left."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self.loop = loop
        self.sleep = LoopClock(loop).sleep
        self.content: bytes | None = None
        self.living: set[str] = set()
        self.dead: set[str] = set()
        self.problem: Exception | None = None
        self.left: dict[str, list[tuple[float, str]]] = {"submit": [], "query": []}

    def times(self, kind: str = "submit", of: str = "", since: float = 0.0) -> list[float]:
        return sorted(at for at, name in self.left[kind] if name.startswith(of) and at >= since)


class WorldShelf:
    """``Shelf`` in memory; what is written passes through JSON, as in a file."""

    def __init__(self, world: World, member: str) -> None:
        self._world, self._member = world, member

    def join(self) -> None:
        self._world.living.add(self._member)

    def leave(self) -> None:
        self._world.living.discard(self._member)

    def is_alive(self, member: str) -> bool:
        return member in self._world.living

    def traces(self) -> list[str]:
        return [*self._world.living, *self._world.dead]

    def change(self, act: Callable[[dict[str, Any] | None], dict[str, Any]]) -> None:
        world = self._world
        if world.problem is not None:
            raise world.problem
        world.content = orjson.dumps(act(orjson.loads(world.content) if world.content else None))


class Process:
    """A process that sends, and its clock; it can be stopped, continued and killed."""

    def __init__(self, world: World, name: str, rate: float) -> None:
        self.world = world
        self.name = name
        self.goes = asyncio.Event()
        self.goes.set()
        self.stops_in_write = False
        self.wanted_per_s = math.inf
        self.notices: list[str] = []
        self.limiters = {
            "submit": AdaptiveLimiter(rate, self),
            "query": AdaptiveLimiter(rate, self),
        }
        self.departures = self.limiters["submit"].space()
        shelf = WorldShelf(world, name)
        self.limits = SharedLimits(shelf, name, self.limiters, self, self.notices.append)
        self.tasks: list[asyncio.Task[None]] = []

    def now(self) -> float:
        return self.world.loop.time()

    def monotonic(self) -> float:
        return self.world.loop.time()

    async def sleep(self, delay_s: float) -> None:
        await self.world.sleep(delay_s)
        await self.goes.wait()

    def start(self) -> None:
        self.limits.join()
        for work in (self.limits.run(), self._submit(), self._query()):
            self.tasks.append(asyncio.create_task(work))

    def kill(self) -> None:
        self.world.living.discard(self.name)
        self.world.dead.add(self.name)
        for task in self.tasks:
            task.cancel()

    def end(self) -> None:
        self.kill()
        self.world.dead.discard(self.name)
        self.limits.leave()

    def stop(self, for_s: float, *, in_write: bool = False) -> None:
        if in_write:
            self.stops_in_write = True
        else:
            self.goes.clear()
        self.world.loop.call_later(for_s, self._go)

    def _go(self) -> None:
        self.stops_in_write = False
        self.goes.set()

    async def _demand(self) -> None:
        while self.wanted_per_s == 0:
            await self.sleep(0.05)
        if self.wanted_per_s < math.inf:
            await self.sleep(1 / self.wanted_per_s)

    async def _submit(self) -> None:
        while True:
            await self._demand()
            await self.limiters["submit"].acquire()
            self.tasks.append(asyncio.create_task(self._write()))

    async def _write(self) -> None:
        await self.sleep(0.002)  # the sync of the intent
        seat = self.departures.take() or await self.departures.turn()
        await self.sleep(0.001)  # what comes between the turn and the write
        while not self.departures.may_leave(seat):
            seat = self.departures.take() or await self.departures.turn()
        if self.stops_in_write:
            self.goes.clear()
            await self.goes.wait()  # the stop comes between the check and the write
        self.world.left["submit"].append((self.world.loop.time(), self.name))
        self.departures.left(seat)

    async def _query(self) -> None:
        while True:
            await self._demand()
            await self.limiters["query"].acquire()
            self.world.left["query"].append((self.world.loop.time(), self.name))


def play(scene: Callable[[World], Coroutine[None, None, None]]) -> World:
    """Play a scene in virtual time, and return what happened."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(1000.0)) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        world = World(loop)
        runner.run(scene(world))
    return world


def check_limit(world: World, rate: float) -> None:
    for kind in world.left:
        assert most_in_a_second(world.times(kind)) <= math.ceil(rate), kind


RATES = [0.5, 3, 100]


@pytest.mark.parametrize("rate", RATES)
def test_one_process_alone_has_the_whole_limit(rate: float) -> None:
    async def scene(world: World) -> None:
        Process(world, "a", rate).start()
        await world.sleep(max(10.0, 20 / rate))

    world = play(scene)

    check_limit(world, rate)
    assert mean_per_s(world.times()) >= 0.99 * rate
    assert mean_per_s(world.times("query")) >= 0.99 * rate


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("rate", RATES)
def test_busy_processes_divide_the_limit_evenly_and_use_it_up(rate: float, count: int) -> None:
    async def scene(world: World) -> None:
        for name in "abc"[:count]:
            Process(world, name, rate).start()
        await world.sleep(max(20.0, 24 / rate))

    world = play(scene)

    check_limit(world, rate)
    for kind in world.left:
        times = world.times(kind, since=1010.0)
        mean = len(times) / (world.loop.time() - 1010.0)
        assert 0.98 * rate - 0.05 <= mean <= rate + 0.05, kind
        for name in "abc"[:count]:
            part = len(world.times(kind, name, since=1010.0)) / len(times)
            # Shares are whole seats: three seats for two processes are two and one.
            uneven = 1 / rate if rate >= count else 0.0
            assert abs(part - 1 / count) <= uneven + max(0.03, 1 / len(times)), kind


def test_a_second_process_gets_its_share_within_two_seconds() -> None:
    async def scene(world: World) -> None:
        Process(world, "a", 100).start()
        await world.sleep(5.0)
        Process(world, "b", 100).start()
        await world.sleep(5.0)

    world = play(scene)

    check_limit(world, 100)
    assert len(world.times(of="b", since=1007.0)) == pytest.approx(150, abs=15)
    assert mean_per_s(world.times(since=1002.0)) >= 98


def test_shares_follow_demand() -> None:
    async def scene(world: World) -> None:
        busy, calm = Process(world, "busy", 100), Process(world, "calm", 100)
        calm.wanted_per_s = 10
        busy.start()
        calm.start()
        await world.sleep(20.0)

    world = play(scene)

    check_limit(world, 100)
    assert len(world.times(of="calm", since=1010.0)) == pytest.approx(100, abs=8)
    assert len(world.times(of="busy", since=1010.0)) == pytest.approx(880, abs=30)


@pytest.mark.parametrize("rate", [1, 2, 100])
def test_the_share_of_a_killed_process_is_free_within_seconds(rate: float) -> None:
    async def scene(world: World) -> None:
        first, second = Process(world, "a", rate), Process(world, "b", rate)
        first.start()
        second.start()
        await world.sleep(10.0)
        first.kill()
        await world.sleep(20.0)

    world = play(scene)

    check_limit(world, rate)
    assert world.times(of="a")[-1] < 1010.1
    assert mean_per_s(world.times(since=1012.0)) >= 0.98 * rate


def test_a_stopped_process_keeps_one_seat_and_is_within_the_limit_when_it_continues() -> None:
    async def scene(world: World) -> None:
        stopped, other = Process(world, "a", 50), Process(world, "b", 50)
        stopped.start()
        other.start()
        await world.sleep(5.0)
        stopped.stop(10.0, in_write=True)
        await world.sleep(20.0)

    world = play(scene)

    check_limit(world, 50)
    during = [at for at in world.times(of="b") if 1008.0 <= at < 1014.0]
    assert mean_per_s(during) >= 0.97 * 49
    assert mean_per_s(world.times(since=1018.0)) >= 0.98 * 50


def test_the_lower_of_two_limits_counts_while_both_run_and_is_reported_once() -> None:
    fast: list[Process] = []

    async def scene(world: World) -> None:
        fast.append(Process(world, "a", 100))
        slow = Process(world, "b", 20)
        fast[0].start()
        await world.sleep(5.0)
        slow.start()
        await world.sleep(10.0)
        slow.end()
        await world.sleep(10.0)

    world = play(scene)

    check_limit(world, 100)
    both = [at for at in world.times() if 1007.0 <= at < 1015.0]
    assert most_in_a_second(both) <= 20
    assert mean_per_s(both) >= 0.97 * 20
    assert mean_per_s(world.times(since=1018.0)) >= 98
    assert len([text for text in fast[0].notices if "submit" in text]) == 1
    assert "20 per second" in fast[0].notices[0]


def test_a_slower_rate_learned_by_one_process_counts_for_all() -> None:
    async def scene(world: World) -> None:
        first, second = Process(world, "a", 100), Process(world, "b", 100)
        first.start()
        second.start()
        await world.sleep(5.0)
        first.limiters["submit"].throttled(2.0)
        await world.sleep(0.5)
        assert second.limiters["submit"].rate_per_s == pytest.approx(70)
        second.limiters["submit"].throttled()
        await world.sleep(0.3)
        assert first.limiters["submit"].rate_per_s == pytest.approx(70), "one burst, one decrease"
        await world.sleep(10.0)

    world = play(scene)

    assert len([at for at in world.times() if 1005.4 < at < 1006.9]) == 0
    assert mean_per_s(world.times(since=1009.0)) == pytest.approx(70, rel=0.03)


def test_a_rate_that_was_kept_from_an_earlier_run_counts_for_all() -> None:
    async def scene(world: World) -> None:
        first, second = Process(world, "a", 100), Process(world, "b", 100)
        first.limiters["submit"].throttled()
        kept = first.limiters["submit"].snapshot()
        second.start()
        second.limiters["submit"].restore(kept)
        await world.sleep(0.5)
        assert second.limiters["submit"].rate_per_s == pytest.approx(70)
        third = Process(world, "c", 100)
        third.start()
        assert third.limiters["submit"].rate_per_s == pytest.approx(70)

    play(scene)


def test_a_run_that_waits_for_a_stopped_one_says_so_once() -> None:
    processes: list[Process] = []

    async def scene(world: World) -> None:
        processes.extend(Process(world, name, 1) for name in "ab")
        processes[0].start()
        await world.sleep(5.0)
        processes[0].stop(40.0)
        processes[1].start()
        await world.sleep(60.0)

    world = play(scene)

    check_limit(world, 1)
    assert len(processes[1].notices) == 2, "one for each kind of request"
    assert f"process {os.getpid()}" in processes[1].notices[0]
    assert world.times(of="b", since=1045.0)


def test_a_process_of_another_host_is_named_with_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process id alone leads nowhere, or to the wrong process."""
    processes: list[Process] = []

    async def scene(world: World) -> None:
        for name, host, rate in (("a", "far", 1), ("b", "here", 2)):
            monkeypatch.setattr("platform.node", lambda host=host: host)
            processes.append(Process(world, name, rate))
            processes[-1].limits.join()
            if host == "far":
                await world.sleep(0.1)

    play(scene)

    assert f"(process {os.getpid()} on far) limits submit requests to 1" in processes[1].notices[0]


@pytest.mark.parametrize("problem", [OSError(28, "No space left on device"), ShelfBusy()])
def test_a_process_that_cannot_reach_the_shared_state_goes_on_slowly_and_says_so_once(
    problem: Exception,
) -> None:
    processes: list[Process] = []

    async def scene(world: World) -> None:
        processes.extend(Process(world, name, 20) for name in "ab")
        for process in processes:
            process.start()
        await world.sleep(5.0)
        world.problem = problem
        await world.sleep(20.0)
        world.problem = None
        await world.sleep(10.0)

    world = play(scene)

    check_limit(world, 20)
    during = [at for at in world.times() if 1007.0 <= at < 1024.0]
    assert 30 <= len(during) <= 36, "one request a second from each"
    assert [len(process.notices) for process in processes] == [1, 1]
    assert mean_per_s(world.times(since=1028.0)) >= 0.98 * 20


def test_if_the_shared_state_is_lost_nothing_is_above_the_limit_and_work_goes_on() -> None:
    async def scene(world: World) -> None:
        for name in "ab":
            Process(world, name, 100).start()
        await world.sleep(5.0)
        world.content = None
        Process(world, "c", 100).start()
        await world.sleep(10.0)

    world = play(scene)

    check_limit(world, 100)
    assert mean_per_s(world.times(since=1008.0)) >= 98


# These requests are spaced. What can be lost with the file is in test_shared_histories.
DEEDS = [
    *("start", "start", "kill", "end", "stop", "stop in write", "busy", "full"),
    *("pause", "idle", "calm", "wild", "throttle"),
]
HISTORIES = st.lists(
    st.tuples(
        st.floats(0.0, 2.5), st.sampled_from(DEEDS), st.integers(0, 100), st.floats(0.01, 4.0)
    ),
    min_size=3,
    max_size=12,
)


@settings(max_examples=10, deadline=None)
@given(rate=st.sampled_from([0.5, 2.5, 7, 39.5]), deeds=HISTORIES)
def test_no_second_is_above_the_limit_whatever_happens_to_the_processes(
    rate: float, deeds: list[tuple[float, str, int, float]]
) -> None:
    async def scene(world: World) -> None:
        processes: list[Process] = []
        for pause_s, deed, which, length_s in [(0.0, "start", 0, 1.0), *deeds]:
            await world.sleep(pause_s)
            if deed == "start" and not world.problem:
                processes.append(Process(world, f"p{len(processes)}", rate))
                processes[-1].start()
            one = processes[which % len(processes)]
            if one.name in world.living and one.goes.is_set():
                do(one, deed, length_s)
            change(world, deed, length_s)
        await world.sleep(5.0)

    check_limit(play(scene), rate)


def do(one: Process, deed: str, length_s: float) -> None:
    """Let something happen to one process."""
    match deed:
        case "kill":
            one.kill()
        case "end":
            one.end()
        case "stop" | "stop in write":
            one.stop(length_s, in_write=deed != "stop")
        case "idle" | "calm" | "wild":
            one.wanted_per_s = {"idle": 0.0, "calm": length_s, "wild": math.inf}[deed]
        case "throttle":
            one.limiters["submit"].throttled()
        case _:
            pass


def change(world: World, deed: str, length_s: float) -> None:
    """Let something happen to all."""
    match deed:
        case "busy" | "full":
            world.problem = ShelfBusy() if deed == "busy" else OSError(28, "full")
            world.loop.call_later(length_s, setattr, world, "problem", None)
        case "pause":
            world.loop.advance(length_s / 4)
        case _:
            pass
