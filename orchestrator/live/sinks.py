"""Parts of event sinks: several as one, their end, and a regular call between events."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from orchestrator.domain.events import Noticed

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import EventSink


class Sinks:
    """Passes events to any number of sinks, or to none.

    A sink that raises is removed, and the others are notified; it cannot break the run.
    """

    def __init__(self, *sinks: EventSink) -> None:
        self._sinks = list(sinks)

    def add(self, sink: EventSink) -> None:
        """Pass events to one more sink from now on."""
        self._sinks.append(sink)

    def emit(self, event: Event) -> None:
        """Pass one event on."""
        for sink in tuple(self._sinks):
            try:
                sink.emit(event)
            except Exception as error:  # noqa: BLE001 - whatever it raises, the run continues
                self._sinks.remove(sink)
                self.emit(Noticed(f"{type(sink).__name__} failed and is switched off: {error!r}"))


class Closing(ABC):
    """Calls ``close`` when its context ends, however it ends."""

    def __exit__(self, *error: object) -> None:
        """Close."""
        self.close()

    @abstractmethod
    def close(self) -> None:
        """End what is shown."""


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
