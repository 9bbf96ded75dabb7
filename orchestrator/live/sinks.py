"""Several event sinks as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.events import Noticed

if TYPE_CHECKING:
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
