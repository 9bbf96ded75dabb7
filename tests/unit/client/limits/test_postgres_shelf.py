"""The shared limits of an account in PostgreSQL: members on hosts with clocks of their own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.client.limits.postgres_shelf import PostgresShelf
from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.client.limits.shared_limit import SharedLimits, shared_limits
from orchestrator.client.limits.shelf import Moment, Rhythm, ShelfBusy
from orchestrator.domain.clock import SystemClock
from orchestrator.postgresql import parse_address
from orchestrator.testing.loop import VirtualTimeLoop
from tests.unit.client.limits.test_departures import mean_per_s, most_in_a_second
from tests.unit.client.limits.test_shared_limit import Process, World, WorldShelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.postgres_server import PostgresServer

RATE = 20.0
SPREAD_S = 0.03


@pytest.fixture
def shelf(postgres: PostgresServer) -> Callable[..., PostgresShelf]:
    url = postgres.url()

    def make(member: str, account: str = "1250000000", clock_error_s: float = 0.0) -> PostgresShelf:
        clock = SystemClock()
        address = parse_address(url)
        return PostgresShelf(address, account, member, lambda: clock.monotonic() + clock_error_s)

    return make


def put(shelf: PostgresShelf, value: int) -> list[Any]:
    """Write a state; return the one before, and the moment."""
    seen: list[Any] = []

    def act(content: dict[str, Any] | None, moment: Moment | None = None) -> dict[str, Any]:
        seen[:] = [content, moment]
        return {"value": value, "members": {}}

    shelf.change(act)
    return seen


def test_members_of_one_account_share_a_state(shelf: Callable[..., PostgresShelf]) -> None:
    first, second, other = shelf("a1"), shelf("b2"), shelf("c3", "1250000001")
    for one in (first, second, other):
        one.join()
        one.join()
    assert put(first, 1)[0] is None
    assert put(second, 2)[0] == {"value": 1, "members": {}}
    assert put(first, 3)[0] == {"value": 2, "members": {}}
    assert put(other, 4)[0] is None
    for one in (first, second, other):
        one.leave()


def test_a_member_is_alive_as_long_as_its_session(
    postgres: PostgresServer, shelf: Callable[..., PostgresShelf]
) -> None:
    first, second = shelf("a1"), shelf("ffffffffffff")
    first.join()
    assert not first.is_alive("ffffffffffff")
    second.join()
    assert first.is_alive("ffffffffffff")
    second.leave()
    second.join()
    with postgres.connect() as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            " AND pid <> pg_backend_pid() AND objid = 4294967295"
        )
    for _ in range(100):
        if not first.is_alive("ffffffffffff"):
            break
        threading.Event().wait(0.02)
    assert not first.is_alive("ffffffffffff")
    with pytest.raises(OSError, match="ended the connection"):
        put(second, 1)
    second.join()
    assert put(second, 1)[0] is None
    first.leave()
    second.leave()


def test_a_change_that_came_too_late_is_made_on_the_new_state(
    shelf: Callable[..., PostgresShelf],
) -> None:
    first, second = shelf("a1"), shelf("b2")
    first.join()
    second.join()
    seen: list[Any] = []

    def act(content: dict[str, Any] | None, moment: Moment | None = None) -> dict[str, Any]:
        if not seen:
            put(second, 7)  # faster
        seen.append(content)
        return {"value": 8, "members": {}}

    first.change(act)
    assert seen == [None, {"value": 7, "members": {}}]

    def never(content: dict[str, Any] | None, moment: Moment | None = None) -> dict[str, Any]:
        put(second, 9)
        return {"value": 10, "members": {}}

    with pytest.raises(ShelfBusy):
        first.change(never)
    assert put(first, 0)[0] == {"value": 9, "members": {}}
    first.leave()
    second.leave()


def test_instants_go_by_the_clock_of_the_server(shelf: Callable[..., PostgresShelf]) -> None:
    ahead, behind = shelf("a1", clock_error_s=1000.0), shelf("b2", clock_error_s=-50.0)
    ahead.join()
    behind.join()
    first: Moment = put(ahead, 1)[1]
    second: Moment = put(behind, 1)[1]
    assert first.before <= first.after <= first.before + 1.0
    instant = second.here(first.there(first.after))
    assert 1050.0 - 2.0 <= first.after - instant <= 1050.0, "rather too late than too early"
    ahead.leave()
    behind.leave()


def test_a_schema_that_may_not_be_made_is_an_error(postgres: PostgresServer) -> None:
    with postgres.connect() as admin:
        admin.execute("DROP ROLE IF EXISTS stranger")
        admin.execute("CREATE ROLE stranger LOGIN")
    address = parse_address(postgres.url().replace("tester@", "stranger@"))
    with pytest.raises(OSError, match="permission denied"):
        PostgresShelf(address, "x", "a1", SystemClock().monotonic).join()


async def test_without_the_database_a_run_keeps_the_limit_by_itself_and_says_so() -> None:
    limiter = AdaptiveLimiter(5, SystemClock())
    notices: list[str] = []
    url = "postgresql://x@127.0.0.1:1/x"
    limiters = {"submit": limiter}
    async with shared_limits("a", limiters, SystemClock(), notices.append, url):
        assert not limiter.is_shared
        assert len(limiter.seats) == 5
    assert len(notices) == 1
    assert "keeps the limit by itself" in notices[0]


async def test_members_join_and_leave(postgres: PostgresServer) -> None:
    url, clock = postgres.url(), SystemClock()
    notices: list[str] = []
    limiters = [AdaptiveLimiter(10, clock), AdaptiveLimiter(10, clock)]
    async with shared_limits("a", {"submit": limiters[0]}, clock, notices.append, url):
        assert len(limiters[0].seats) == 10
        async with shared_limits("a", {"submit": limiters[1]}, clock, notices.append, url):
            for _ in range(200):
                if len(limiters[1].seats):
                    break
                await clock.sleep(0.02)
            held = [len(limiter.seats) for limiter in limiters]
            assert sum(held) <= 10
            assert held[1] > 0
    assert notices == []


# --- in virtual time, with clocks that differ


class _Elsewhere(WorldShelf):
    """A shelf with a clock of its own, which is known only roughly."""

    def __init__(self, world: World, member: str, process: Process) -> None:
        super().__init__(world, member)
        self._process = process

    def change(self, act: Callable[..., dict[str, Any]]) -> None:
        ours, shared = self._process.monotonic(), self._world.loop.time() + 1e9
        moment = Moment(shared, ours - SPREAD_S, ours + SPREAD_S)
        super().change(lambda content: act(content, moment))


class _Host(Process):
    """A process on a host whose clock began at another time."""

    def __init__(self, world: World, name: str, rate: float, began_at: float) -> None:
        self.began_at = began_at
        super().__init__(world, name, rate)
        rhythm = Rhythm(beat_s=0.25, lease_s=2.0)
        shelf = _Elsewhere(world, name, self)
        self.limits = SharedLimits(shelf, name, self.limiters, self, self.notices.append, rhythm)

    def monotonic(self) -> float:
        return self.world.loop.time() + self.began_at


def in_a_world(test: Callable[[World], Any]) -> None:
    loop = VirtualTimeLoop()
    try:
        loop.run_until_complete(test(World(loop)))
    finally:
        loop.close()


def test_hosts_with_different_clocks_stay_within_the_limit_together() -> None:
    async def play(world: World) -> None:
        hosts = [_Host(world, name, RATE, at) for name, at in (("a", 5.0), ("b", 9e6), ("c", 0.0))]
        hosts[0].start()
        await world.sleep(3.0)
        hosts[1].start()
        await world.sleep(5.0)
        hosts[2].start()
        await world.sleep(5.0)
        hosts[1].kill()
        await world.sleep(8.0)
        for host in (hosts[0], hosts[2]):
            host.end()

        times = world.times()
        assert most_in_a_second(times) <= RATE
        assert mean_per_s([at for at in world.times(of="b") if at > 5.0]) > 0.25 * RATE, "fair"
        late = [at for at in times if at > 17.0]
        assert mean_per_s(late) > 0.9 * RATE, "a dead host's share is free within seconds"

    in_a_world(play)


def test_what_one_host_learns_counts_on_others_and_does_not_move() -> None:
    async def play(world: World) -> None:
        hosts = [_Host(world, name, RATE, at) for name, at in (("a", 5.0), ("b", 9e6))]
        for host in hosts:
            host.start()
        await world.sleep(3.0)
        hosts[0].limiters["submit"].throttled()
        at = world.loop.time()
        await world.sleep(1.0)
        assert hosts[1].limiters["submit"].rate_per_s == pytest.approx(0.7 * RATE)
        for host in hosts:
            learned = host.limiters["submit"].learned().decreased_at - host.began_at
            assert at <= learned <= at + 4 * SPREAD_S + 1e-6
        await world.sleep(1.0)
        for host in hosts:
            learned = host.limiters["submit"].learned().decreased_at - host.began_at
            assert learned <= at + 4 * SPREAD_S + 1e-6, "it does not move with each exchange"
            host.end()

    in_a_world(play)
