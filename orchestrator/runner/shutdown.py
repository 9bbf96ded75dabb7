"""Reasons to stop before all jobs have ended: signal, budget, error, or a defect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from orchestrator.domain.events import Stopping
from orchestrator.errors import InternalDefect, Interruption, LedgerDisplaced, OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orchestrator.domain.ports import EventSink

_UNHURRIED = frozenset({"budget", "canary", "deadline", "window"})


class Shutdown:
    """Keeps the first reason to stop.

    Args:
        sink: Receives the event.

    Attributes:
        why: The first reason, or None.
        error: The error behind it, if there was one.
        changed: Set when something happened that may end the run.
        hurried: Set when the run must not wait for jobs in doubt.
    """

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self.why: Interruption | None = None
        self.error: OrchestratorError | None = None
        self.changed = asyncio.Event()
        self.hurried = asyncio.Event()

    def stop(self, why: Interruption, error: OrchestratorError | None = None) -> None:
        """Stop in order. The first reason counts; a later one may still cut waiting short."""
        if why.kind not in _UNHURRIED:
            self.hurried.set()
        if self.why is None:
            self.why, self.error = why, error
            self._sink.emit(Stopping(why.reason))
            self.changed.set()

    def fatal(self, error: OrchestratorError) -> None:
        """Stop because no other job could do better."""
        self.stop(Interruption("error", str(error)), error)

    async def guard(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Run a loop; a defect in it stops the run in order.

        Answers that are on their way are still received and recorded.

        Raises:
            OrchestratorError: Raised by the loop: without a ledger nothing can end in order.
        """
        try:
            await loop()
        except Exception as error:
            first = first_of(error)
            if isinstance(first, LedgerDisplaced):  # the open file still takes what is recorded
                self.fatal(first)
                return
            if not isinstance(first, Exception) or isinstance(first, OrchestratorError):
                raise
            self.fatal(InternalDefect(first))


def first_of(error: BaseException) -> BaseException:
    """Return the first error of nested groups that is not a group itself."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
