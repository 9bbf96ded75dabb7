"""One timer ends the waiting for each answer at its own time, and for no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from orchestrator.client.direct import _Deadlines, _Sending
from orchestrator.testing.loop import VirtualTimeLoop

if TYPE_CHECKING:
    import asyncio


class _Transport:
    """Notes when its connection was lost."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self.lost_at: float | None = None

    def abort(self) -> None:
        assert self.lost_at is None
        self.lost_at = self._loop.time()


class _Desk:
    """Requests that wait for answers that never come."""

    def __init__(self) -> None:
        self.loop = VirtualTimeLoop()
        self.deadlines = _Deadlines(self.loop)

    def send(self, until: float) -> tuple[_Sending, _Transport]:
        sending, transport = _Sending(b"", self.deadlines, until), _Transport(self.loop)
        self.deadlines.watch(sending, cast("asyncio.Transport", transport))
        return sending, transport

    def pass_until(self, instant: float) -> None:
        self.loop.call_at(instant, self.loop.stop)
        self.loop.run_forever()


def test_each_is_given_up_at_its_own_time() -> None:
    desk = _Desk()
    sent = [desk.send(until) for until in (5.0, 3.0, 4.0)]
    desk.pass_until(3.5)
    sent.append(desk.send(3.75))
    desk.pass_until(10.0)
    sent.append(desk.send(12.0))
    desk.pass_until(20.0)
    desk.loop.close()

    assert [transport.lost_at for _, transport in sent] == [5.0, 3.0, 4.0, 3.75, 12.0]
    assert all(sending.is_late for sending, _ in sent)


def test_who_was_answered_is_left_alone() -> None:
    desk = _Desk()
    (answered, kept), (silent, lost) = desk.send(1.0), desk.send(2.0)
    desk.deadlines.forget(answered)
    desk.pass_until(10.0)
    desk.loop.close()

    assert (answered.is_late, kept.lost_at) == (False, None)
    assert (silent.is_late, lost.lost_at) == (True, 2.0)


def test_when_nobody_waits_no_timer_runs() -> None:
    desk = _Desk()
    for until in (1.0, float("inf")):
        sending, _ = desk.send(until)
        desk.deadlines.forget(sending)
    desk.pass_until(2.0)
    desk.loop.close()

    assert desk.deadlines._timer is None
