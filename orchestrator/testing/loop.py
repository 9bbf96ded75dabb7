"""Virtual time: an event loop whose clock jumps to the next timer as soon as it is idle.

A program that waits for hours runs in milliseconds, and in the same order every time. Files and
sockets still work: they are polled before the clock moves, so a loopback server in the same loop
answers first.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Coroutine
    from contextvars import Context

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")


class DeadlockError(RuntimeError):
    """No task is ready, no timer is set and no file is watched: the program would wait forever."""


class CrashError(KeyboardInterrupt):
    """The simulated process was killed; asyncio lets a ``KeyboardInterrupt`` pass through tasks."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that never blocks: instead of waiting for a timer, it moves virtual time."""

    loop: VirtualTimeLoop
    _watched = 0

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = super().register(fileobj, events, data)
        self._watched += 1
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        key = super().unregister(fileobj)
        self._watched -= 1
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        has_files = self._watched > 1  # besides the loop's own wake-up pipe
        if timeout == 0 and not has_files:
            return []  # the wake-up pipe is read when the loop is idle
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            if not has_files:
                raise DeadlockError("every task waits for another one")
            return super().select(None)
        self.loop.advance(timeout)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time.

    ``_run_once``, ``_ready`` and ``_clock_resolution`` are internals of asyncio. They are used
    because no public interface stops a loop between two steps of one turn, or keeps timers apart
    that differ by nanoseconds. A change in a Python release breaks tests, never a run.

    Args:
        start_at: First reading of the clock, seconds.
        crash_after: Number of turns of the loop before :class:`CrashError`; None for never.
        crash_within: Share of the steps due in the crashing turn that still run, 0 to 1.
    """

    def __init__(
        self, start_at: float = 0.0, crash_after: int | None = None, crash_within: float = 0.0
    ) -> None:
        self._now = start_at
        self._turns = 0
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
        """Move the clock forward."""
        self._now += delay_s

    @property
    def turns(self) -> int:
        """Number of turns made; ``crash_after`` counts in the same unit."""
        return self._turns

    def die(self) -> None:
        """Ignore every later call, and log nothing."""
        self.call_soon = self._ignore  # type: ignore[method-assign]  # a check at each call is slow
        self.set_exception_handler(lambda _loop, _context: None)

    def _ignore(
        self,
        callback: Callable[[*_Arguments], object],
        *args: *_Arguments,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Accept a callback, and never run it."""
        return asyncio.Handle(callback, args, self, context)

    def _run_once(self) -> None:
        self._turns += 1
        if self._crash_after is not None and self._turns > self._crash_after:
            due: deque[asyncio.Handle] = self._ready  # type: ignore[attr-defined]  # not in stubs
            due.insert(int(self._crash_within * (len(due) + 1)), asyncio.Handle(_crash, (), self))
        super()._run_once()  # type: ignore[misc]  # not in stubs


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
        """Sleep for ``delay_s`` seconds of the loop's time."""
        await asyncio.sleep(delay_s)  # noqa: TID251 - this is a clock


def run_virtual(main: Coroutine[Any, Any, _T], *, start_at: float = 0.0) -> _T:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(start_at)) as runner:
        return runner.run(main)


async def on_loop(act: Callable[[], None]) -> None:
    """``Ports.off_loop`` for virtual time: run it at once, not in a thread, to keep the order."""
    act()


def kill(loop: VirtualTimeLoop) -> None:
    """Discard a loop as ``kill -9`` would: its tasks never run again, and nothing is logged.

    Python still runs the ``finally`` blocks of a closed coroutine up to their first ``await``. They
    run here, on a loop that ignores every call.
    """
    loop.die()
    for task in asyncio.all_tasks(loop):
        with contextlib.suppress(BaseException):
            task.get_coro().close()
    loop.close()
