"""The virtual-time loop: a killed process leaves no trace in the log."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from orchestrator.testing.loop import (
    CrashError,
    DeadlockError,
    LoopClock,
    VirtualTimeLoop,
    kill,
    on_loop,
    run_virtual,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable


@pytest.mark.filterwarnings("error")
def test_a_killed_loop_writes_nothing_to_the_log_or_to_stderr(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """One task sleeps, one waits, one fails in ``finally``, and one has not started."""
    loop = VirtualTimeLoop(crash_after=2, crash_within=0.0)
    cleaned_up: list[str] = []

    async def work(name: str, pause: Awaitable[object], error: Exception | None) -> None:
        try:
            await pause
        finally:
            cleaned_up.append(name)
            if error is not None:
                raise error

    async def main() -> None:
        clock, never = LoopClock(loop), loop.create_future()
        tasks = [
            loop.create_task(work("sleeps", clock.sleep(60), None)),
            loop.create_task(work("waits", never, None)),
            loop.create_task(work("fails", loop.create_future(), ValueError("cleanup"))),
        ]
        await clock.sleep(0)
        tasks.append(loop.create_task(work("has not started", never, None)))
        await asyncio.gather(*tasks)

    with pytest.raises(CrashError):
        loop.run_until_complete(main())
    kill(loop)
    gc.collect()

    assert sorted(cleaned_up) == ["fails", "sleeps", "waits"]
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_a_blocking_call_has_ended_when_it_was_awaited() -> None:
    done: list[str] = []

    async def main() -> None:
        await on_loop(lambda: done.append("act"))
        done.append("next")

    run_virtual(main())

    assert done == ["act", "next"]


def test_a_file_is_waited_for_only_while_it_is_watched() -> None:
    """Afterwards, a wait for nothing is an error again and not a wait for the file."""
    got: list[bytes] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        with near, far:
            near.setblocking(False)
            reading = asyncio.create_task(loop.sock_recv(near, 1))
            await LoopClock(loop).sleep(0)
            threading.Timer(0.02, far.send, [b"x"]).start()  # when the loop is idle
            got.append(await reading)
        await loop.create_future()

    with pytest.raises(DeadlockError):
        run_virtual(main())
    assert got == [b"x"]
