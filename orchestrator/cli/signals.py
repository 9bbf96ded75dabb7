"""Signals: the first one stops in order, the second one at once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from orchestrator.cli import INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ABORT_S = 2.0
"""Time that an abort may take to close files; then the process ends as it is."""


@contextlib.contextmanager
def stop_on_signals(
    stop: Callable[[signal.Signals], None], abort: Callable[[signal.Signals], None]
) -> Iterator[None]:
    """Stop in order at the first SIGINT, SIGTERM or SIGHUP, and abort at the second.

    SIGHUP means that the terminal is gone. Under ``nohup`` it is ignored, and stays so. The second
    signal loses nothing: what was not recorded is in doubt, and the next run looks it up.

    Args:
        stop: Stops in order. It may cancel the present task, which is an interrupt then.
        abort: Says that it is aborted now; then the present task is cancelled, and if files still
            close two seconds later, the process ends all the same.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    seen = 0

    def on_signal(number: signal.Signals) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            stop(number)
        elif seen == 2:
            _end_in(_ABORT_S)
            abort(number)
            if task is not None:
                task.cancel()
        else:
            _end_now()

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
        if seen:
            raise (SystemExit(INTERRUPTED) if seen > 1 else KeyboardInterrupt) from None
        raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def _end_in(delay_s: float) -> None:
    """End the process in a while, whatever still closes then."""
    timer = threading.Timer(delay_s, _end_now)
    timer.daemon = True
    timer.start()


def _end_now() -> None:
    with contextlib.suppress(OSError):
        sys.stderr.flush()
    os._exit(INTERRUPTED)
