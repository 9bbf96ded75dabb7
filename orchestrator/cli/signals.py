"""Signals: the first stops in order, the second at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING

from orchestrator.errors import Interruption

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[Interruption], None]) -> Iterator[None]:
    """While this is open, SIGINT, SIGTERM and SIGHUP (the terminal is gone) call ``stop``; a second one cancels the present task.

    Under ``nohup`` SIGHUP is ignored, and stays so.

    Nothing is lost by the second one: what was not recorded is in doubt, and looked up by the next run.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    seen = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            stop(
                Interruption("signal", f"interrupted by {number.name}; a second one stops at once")
            )
        elif task is not None:
            task.cancel()

    numbers = [
        signal.SIGINT,
        signal.SIGTERM,
        *([signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []),
    ]
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        yield
    except asyncio.CancelledError:
        if seen > 1:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
