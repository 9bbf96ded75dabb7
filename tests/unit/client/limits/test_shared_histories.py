"""Histories of processes that send as much as they may: no second is above the limit.

Nothing is spaced here, so every seat is used at the first instant at which it may be. Processes are
stopped at the worst points: between the check and the write, and with the shared file locked.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.client.limits.rate_limiter import AdaptiveLimiter
from orchestrator.client.limits.seats import HELD_S, Seat
from orchestrator.client.limits.shared_limit import SharedLimits
from orchestrator.client.limits.shelf import ShelfBusy
from tests.unit.client.limits.test_departures import most_in_a_second

if TYPE_CHECKING:
    from collections.abc import Callable

STEP_S = 0.09


class Machine:
    """Time, the shared state, and the instants at which requests left."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall_s = 0.0
        self.content: bytes | None = None
        self.signs: dict[str, bool] = {}
        self.locked_by: Process | None = None
        self.fault = ""
        self.fault_ends_at = 0.0
        self.left: list[float] = []


class MachineShelf:
    """``Shelf`` in memory, with the faults of a disk."""

    def __init__(self, process: Process) -> None:
        self._process, self._machine = process, process.machine

    def join(self) -> None:
        self._machine.signs[self._process.name] = True

    def leave(self) -> None:
        self._machine.signs.pop(self._process.name, None)

    def is_alive(self, member: str) -> bool:
        if not self._machine.signs.get(member, False):
            self._machine.signs.pop(member, None)
        return member in self._machine.signs

    def traces(self) -> list[str]:
        return list(self._machine.signs)

    def change(self, act: Callable[[dict[str, Any] | None], dict[str, Any]]) -> None:
        machine = self._machine
        removed = self._process.holds_a_removed_file
        if machine.locked_by not in {None, self._process} and not removed:
            raise ShelfBusy
        fault = machine.fault if machine.now < machine.fault_ends_at else ""
        if fault == "unreadable" or machine.now < self._process.cut_off_until:
            raise PermissionError(13, "Permission denied")
        content = self._process.removed_content if removed else machine.content
        written = orjson.dumps(act(orjson.loads(content) if content else None))
        if fault == "full":
            raise OSError(28, "No space left on device")
        if not removed:
            machine.content = None if fault == "torn" else written
        if fault:
            raise OSError(5, "Input/output error")


class Process:
    """A process that sends whenever it may; its clock stands still if it is stopped in a change."""

    def __init__(self, machine: Machine, name: str, rate: float) -> None:
        self.machine, self.name = machine, name
        self.frozen_at: float | None = None
        self.holds_a_removed_file = False
        self.removed_content: bytes | None = None
        self.limiter = AdaptiveLimiter(rate, self)
        self.limits = SharedLimits(
            MachineShelf(self), name, {"submit": self.limiter}, self, lambda _: None
        )
        self.stopped_until = self.cut_off_until = 0.0
        self.in_write: Seat | None = None
        self.next_write_stops_s = 0.0
        self.pending: list[Seat] = []
        self.is_busy = True

    def now(self) -> float:
        return self.monotonic() + self.machine.wall_s

    def monotonic(self) -> float:
        return self.machine.now if self.frozen_at is None else self.frozen_at

    async def sleep(self, delay_s: float) -> None:
        raise NotImplementedError

    @property
    def is_stopped(self) -> bool:
        return self.machine.now < self.stopped_until

    def wake(self) -> None:
        """Continue after a stop: finish the write, or the change, that it interrupted."""
        seat, self.in_write = self.in_write, None
        if seat is not None:
            self.write(seat)
        if self.frozen_at is not None:
            self.limits.beat()
            self.frozen_at, self.holds_a_removed_file = None, False
            if self.machine.locked_by is self:
                self.machine.locked_by = None

    def take(self) -> Seat | None:
        now, seats = self.machine.now, self.limiter.seats
        if seats.free_at(now) > now:
            return None
        seat = seats.take(now)
        seat.free_at, seat.may_move_at = now + self.limiter.period_s, now + HELD_S
        return seat

    def may_leave(self, seat: Seat) -> bool:
        now = self.machine.now
        return now < seat.may_move_at and self.limiter.seats.may_use(seat, now)

    def write(self, seat: Seat) -> None:
        now = self.machine.now
        if self.next_write_stops_s:
            self.in_write, self.stopped_until = seat, now + self.next_write_stops_s
            self.next_write_stops_s = 0.0
            return
        self.machine.left.append(now)
        seat.free_at, seat.may_move_at = now + self.limiter.period_s, now

    def send(self) -> None:
        """Write what is pending, and then as much as possible."""
        pending, self.pending = self.pending, []
        while not self.is_stopped:
            seat = pending.pop() if pending else self.take()
            if seat is None:
                break
            if self.may_leave(seat):
                self.write(seat)

    def send_if_busy(self) -> None:
        if self.is_busy:
            self.send()

    def beat(self) -> None:
        self.limits.beat()

    def stop(self, for_s: float, where: str) -> None:
        if where == "write":
            self.next_write_stops_s = for_s
            return
        if where == "change" and self.machine.locked_by is None:
            self.machine.locked_by, self.frozen_at = self, self.machine.now
        self.stopped_until = self.machine.now + for_s


class History:
    """Plays a list of deeds."""

    def __init__(self, rates: list[float]) -> None:
        self.rates = rates
        self.machine = Machine()
        self.processes: list[Process] = []
        self.nothing_lost_before = 0.0
        self._started = 0

    def start(self) -> None:
        process = Process(
            self.machine, f"p{self._started}", self.rates[self._started % len(self.rates)]
        )
        self._started += 1
        try:
            process.limits.join()
        except ShelfBusy:
            pass
        except OSError:  # such a run keeps the limit alone, and says so
            process.limits.leave()
            return
        self.processes.append(process)

    def advance(self, by_s: float) -> None:
        """Let time pass, in which all that are not stopped work."""
        end = self.machine.now + by_s
        while True:
            for process in self.processes:
                if process.is_stopped:
                    continue
                process.wake()
                for act in (process.send_if_busy, process.beat, process.send_if_busy):
                    if not process.is_stopped:
                        act()
            if self.machine.now >= end:
                return
            self.machine.now = min(self.machine.now + STEP_S, end)

    def do(self, deed: str, which: int, length_s: float) -> None:
        machine = self.machine
        if deed == "start":
            self.start()
        elif deed == "lose":
            # Not right after a run that ended in order: a new one could not know of it.
            if machine.now < self.nothing_lost_before:
                return
            if machine.locked_by is not None:
                machine.locked_by.holds_a_removed_file = True
                machine.locked_by.removed_content = machine.content
                machine.locked_by = None
            machine.content = None
        elif deed in {"unreadable", "full", "torn", "late error"}:
            machine.fault, machine.fault_ends_at = deed, machine.now + length_s
        elif deed == "clock step":
            machine.wall_s -= length_s * 1000
        elif self.processes:
            self.do_to(self.processes[which % len(self.processes)], deed, length_s)

    def do_to(self, one: Process, deed: str, length_s: float) -> None:
        if deed == "kill":
            self.machine.signs[one.name] = False
            if self.machine.locked_by is one:
                self.machine.locked_by = None
            self.processes.remove(one)
        elif one.is_stopped:
            return
        elif deed == "leave":
            one.limits.leave()
            self.processes.remove(one)
            self.nothing_lost_before = self.machine.now + 2.1
        elif deed == "take":
            one.pending += [seat for seat in [one.take()] if seat is not None]
        elif deed in {"idle", "busy"}:
            one.is_busy = deed == "busy"
        elif deed == "cut off":
            one.cut_off_until = self.machine.now + length_s
        elif deed == "throttle":
            one.limiter.throttled()
        else:
            one.stop(length_s, deed.removeprefix("stop in "))


DEEDS = [
    *("start", "start", "kill", "leave", "lose", "lose", "cut off", "cut off"),
    *("take", "idle", "busy", "throttle"),
    *("stop", "stop in write", "stop in write", "stop in change"),
    *("unreadable", "full", "torn", "late error", "clock step"),
]
PAUSES_S = [0.0, 0.05, 0.2, 0.5, 0.62, 0.9, 1.02, 1.7]
HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(PAUSES_S),
        st.sampled_from(DEEDS),
        st.integers(0, 3),
        st.sampled_from([0.1, 0.7, 1.3, 2.1, 4.0]),
    ),
    min_size=1,
    max_size=25,
)


def play(rates: list[float], deeds: list[tuple[float, str, int, float]]) -> History:
    """Play the deeds; the processes are configured with these limits in turn."""
    history = History(rates)
    history.start()
    for pause_s, deed, which, length_s in deeds:
        history.advance(pause_s)
        history.do(deed, which, length_s)
    history.advance(3.0)
    return history


@settings(max_examples=150, deadline=None)
@given(rates=st.sampled_from([[0.5], [1], [2], [2.5], [7], [3, 7]]), deeds=HISTORIES)
def test_no_second_is_above_the_limit_whatever_happens(
    rates: list[float], deeds: list[tuple[float, str, int, float]]
) -> None:
    history = play(rates, deeds)
    assert most_in_a_second(sorted(history.machine.left)) <= math.ceil(max(rates))


@pytest.mark.parametrize(
    "deeds",
    [
        [(1.0, "start", 0, 1.0), (0.0, "stop", 0, 1.0), (0.0, "lose", 0, 1.0)],
        [(1.0, "start", 0, 1.0), (0.0, "stop in write", 0, 1.3), (0.0, "lose", 0, 1.0)],
    ],
    ids=["stopped", "stopped in a write"],
)
def test_one_that_was_stopped_while_the_file_was_lost_sends_nothing_too_much(
    deeds: list[tuple[float, str, int, float]],
) -> None:
    for rate in (1, 2):
        assert most_in_a_second(sorted(play([rate], deeds).machine.left)) <= rate


def test_the_histories_send_what_they_may() -> None:
    """Otherwise they would prove nothing."""
    alone = play([7], [(5.0, "busy", 0, 1.0)]).machine.left
    both = play([7], [(0.0, "start", 0, 1.0), (9.0, "busy", 0, 1.0)]).machine.left
    assert len(alone) >= 7 * 7
    assert len([at for at in both if 1006 <= at < 1012]) >= 7 * 5
