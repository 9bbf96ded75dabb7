"""One JSON object per event, for log collectors."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from orchestrator.domain.events import Event


class JsonLogSink:
    """Writes each event as a JSON object with its name, its fields and the time.

    Args:
        stream: Where to; standard error, as a rule.
    """

    def __init__(self, stream: TextIO) -> None:
        import structlog

        self._log = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
        )

    def emit(self, event: Event) -> None:
        """Write one event."""
        self._log.msg(_name(event), **asdict(event))


def _name(event: Event) -> str:
    """``JobEnded`` -> ``job_ended``."""
    return "".join(
        f"_{letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__
    ).lstrip("_")
