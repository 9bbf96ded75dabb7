"""One JSON object per event, for log collectors."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from orchestrator.domain.events import Event
    from orchestrator.domain.ports import Clock


class JsonLogSink:
    """Writes each event as a JSON object: its fields, its name as ``event``, and ``timestamp``.

    Args:
        stream: The destination, usually standard error.
        clock: Time, for ``timestamp`` (ISO 8601 in UTC).
    """

    def __init__(self, stream: TextIO, clock: Clock) -> None:
        self._stream = stream
        self._clock = clock

    def emit(self, event: Event) -> None:
        """Write one event."""
        now = datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="microseconds")
        content = {**asdict(event), "event": _name(event), "timestamp": now.replace("+00:00", "Z")}
        # ASCII with escapes, whatever the encoding of the stream: object names may be anything.
        self._stream.write(json.dumps(content) + "\n")
        self._stream.flush()


def _name(event: Event) -> str:
    """Return ``job_ended`` for ``JobEnded``."""
    name = type(event).__name__
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
