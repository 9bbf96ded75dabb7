"""A regular call in a thread of its own, for displays that move while nothing happens."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Ticker:
    """Calls a function at an interval until it is stopped.

    An error of the function ends it and is kept: ``check`` raises it where it can be reported.

    Args:
        interval_s: Time between two calls.
        call: The function.
    """

    def __init__(self, interval_s: float, call: Callable[[], None]) -> None:
        self._interval_s = interval_s
        self._call = call
        self._error: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="display", daemon=True)

    def start(self) -> None:
        """Start calling."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; a call that is being made is waited for."""
        self._over.set()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def check(self) -> None:
        """Raise the error that ended it, once."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        while not self._over.wait(self._interval_s):
            try:
                self._call()
            except Exception as error:  # noqa: BLE001 - reported by check
                self._error = error
                return
