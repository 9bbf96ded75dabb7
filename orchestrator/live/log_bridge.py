"""Warnings of the embedded service as events, so that one log has them all in one form."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orchestrator.domain.events import Noticed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.ports import EventSink


class _Bridge(logging.Handler):
    def __init__(self, sink: EventSink) -> None:
        super().__init__(logging.WARNING)
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on as a notice."""
        self._sink.emit(Noticed(record.getMessage()))


@contextmanager
def warnings_as_events(sink: EventSink) -> Iterator[None]:
    """Pass the warnings of this package to a sink while this is open."""
    logger = logging.getLogger("orchestrator")
    bridge = _Bridge(sink)
    logger.addHandler(bridge)
    try:
        yield
    finally:
        logger.removeHandler(bridge)
