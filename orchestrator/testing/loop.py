"""Virtual time: an event loop whose clock jumps to the next timer when nothing else is to be done.

A program that waits for hours runs in milliseconds, and in the same order every time. Files and sockets still work: they are polled before
time is moved, so a loopback server in the same loop is served first.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Coroutine
    from contextvars import Context

_T = TypeVar("_T")


class DeadlockError(RuntimeError):
    """Nothing is ready, no timer runs and no file is watched: the program would wait for ever."""


class CrashError(KeyboardInterrupt):
    """The simulated process was killed. asyncio lets this kind pass through a task unheard; nothing of ours catches it."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never blocks: where the loop would wait for a timer, virtual time moves on to it."""

    loop: VirtualTimeLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 and len(self.get_map()) <= 1:
            return []  # only the loop's own wake-up pipe, and that is looked at when nothing else is to be done
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            if len(self.get_map()) <= 1:  # the loop's own wake-up pipe
                raise DeadlockError("every task waits for another one")
            return super().select(None)
        self.loop.advance(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time.

    Args:
        start_at: The first reading of the clock, seconds.
        crash_after: Die after so many turns of the loop, with :class:`CrashError`; None for never.
        crash_within: Which share of the steps that are due in the next turn are still made: tasks that run side by side die in between.
    """

    def __init__(
        self, start_at: float = 0.0, crash_after: int | None = None, crash_within: float = 0.0
    ) -> None:
        self._now = start_at
        self._turns = 0
        self._is_dead = False
        self._crash_after = crash_after
        self._crash_within = crash_within
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def advance(self, delay_s: float) -> None:
        """Move the clock."""
        self._now += delay_s

    @property
    def turns(self) -> int:
        """Turns of the loop so far: the instants at which a crash can be placed."""
        return self._turns

    def die(self) -> None:
        """Do nothing any more, whatever is asked."""
        self._is_dead = True
        self.set_exception_handler(lambda _loop, _context: None)

    def call_soon(  # type: ignore[override]  # the argument types of a callback are asyncio's business
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's; a dead loop takes it and does nothing."""
        if self._is_dead:
            return asyncio.Handle(callback, args, self, context)
        return super().call_soon(callback, *args, context=context)

    def _run_once(self) -> None:
        self._turns += 1
        if self._crash_after is not None and self._turns > self._crash_after:
            due: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]  # asyncio's own, not in its stubs
            due.insert(int(self._crash_within * (len(due) + 1)), asyncio.Handle(_crash, (), self))
        super()._run_once()  # type: ignore[misc]  # asyncio's own, not in its stubs


def _crash() -> None:
    raise CrashError


class LoopClock:
    """``ports.Clock`` over an event loop: virtual if the loop is.

    Args:
        loop: The loop.
        epoch: Wall time at the loop's zero.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, epoch: float = 1_700_000_000.0) -> None:
        self._loop = loop
        self.epoch = epoch

    def now(self) -> float:
        """Wall time, seconds since the epoch."""
        return self.epoch + self._loop.time()

    def monotonic(self) -> float:
        """The loop's time."""
        return self._loop.time()

    async def sleep(self, delay_s: float) -> None:
        """Let ``delay_s`` seconds pass."""
        await asyncio.sleep(delay_s)  # noqa: TID251 - this is a clock


def run_virtual(main: Coroutine[Any, Any, _T], *, start_at: float = 0.0) -> _T:
    """Run a coroutine in virtual time, to its end."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(start_at)) as runner:
        return runner.run(main)


async def on_loop(act: Callable[[], None]) -> None:
    """``Parts.off_loop`` for virtual time: at once, and in order, instead of in a thread."""
    act()


def kill(loop: VirtualTimeLoop) -> None:
    """Throw a loop away as ``kill -9`` would: its tasks never run again, and nobody hears of them.

    What Python insists on running when a coroutine ends (``finally`` blocks, up to their first ``await``) runs now, on a loop that does
    nothing any more.
    """
    loop.die()
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001 - the only way to end a task unheard
        with contextlib.suppress(BaseException):
            task.get_coro().close()
    loop.close()
