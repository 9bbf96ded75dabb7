"""Why a visit ends before its jobs do: a stop from outside, a budget, an error, or a defect of the program."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.domain.events import Stopping
from orchestrator.errors import InternalDefect, Interruption, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.domain.ports import EventSink

_UNHURRIED = frozenset({"budget", "deadline", "window"})


class Ending:
    """Takes the first reason to end, and tells it.

    Args:
        sink: Told of it.
        on_stop: Called once, with the first reason.

    Attributes:
        why: The first reason, or None.
        error: The error behind it, if it was one.
        hurried: Nobody wants to wait for what is in doubt.
    """

    def __init__(self, sink: EventSink, on_stop: Callable[[], None]) -> None:
        self._sink = sink
        self._on_stop = on_stop
        self.why: Interruption | None = None
        self.error: OrchestratorError | None = None
        self.hurried = asyncio.Event()

    def stop(self, why: Interruption, error: OrchestratorError | None = None) -> None:
        """End in order. The first reason counts; a later one may still put an end to waiting."""
        if why.kind not in _UNHURRIED:
            self.hurried.set()
        if self.why is None:
            self.why, self.error = why, error
            self._sink.emit(Stopping(why.reason))
            self._on_stop()

    def fatal(self, error: OrchestratorError) -> None:
        """End because no job can do better."""
        self.stop(Interruption("error", str(error)), error)

    async def guard(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Go through this loop; a defect in it ends the run in order: answers that are on their way are still heard and recorded.

        Raises:
            OrchestratorError: What the loop raises of that kind: without a ledger there is no order.
        """
        try:
            await loop()
        except Exception as error:
            first = first_of(error)
            if not isinstance(first, Exception) or isinstance(first, OrchestratorError):
                raise
            self.fatal(InternalDefect(first))


def first_of(error: BaseException) -> BaseException:
    """The error that began it all: the first that is not a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
