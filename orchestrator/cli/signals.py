"""Signals: the first one stops in order, the second one at once."""

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
    """Call ``stop`` at the first SIGINT, SIGTERM or SIGHUP; cancel the present task at the second.

    SIGHUP means that the terminal is gone. Under ``nohup`` it is ignored, and stays so. The second
    signal loses nothing: what was not recorded is in doubt, and the next run looks it up.
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
