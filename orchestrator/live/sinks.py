"""Several event sinks as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain import events as ev

if TYPE_CHECKING:
    from orchestrator.domain.events import Event


class Sinks:
    """Passes events to several sinks. One that raises is cut off, and said so on the others: it never hurts the run."""

    def __init__(self, *sinks: object) -> None:
        self._sinks = list(sinks)

    def emit(self, event: Event) -> None:
        """Pass one event on."""
        for sink in tuple(self._sinks):
            try:
                sink.emit(event)  # type: ignore[attr-defined]  # any object with emit()
            except Exception as error:  # noqa: BLE001 - whatever a sink does wrong, the run goes on without it
                self._sinks.remove(sink)
                self.emit(
                    ev.Noticed(f"{type(sink).__name__} failed and is switched off: {error!r}")
                )
