"""Faults of this machine, which keep it from doing any job."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from orchestrator.domain.wording import counted
from orchestrator.separation.errors import ENGINE_NOT_INSTALLED
from orchestrator.server.workers.protocol import WorkFailed

if TYPE_CHECKING:
    from orchestrator.domain.ports import Clock
    from orchestrator.server.workers.protocol import MachineAtFault

log = logging.getLogger(__name__)
RETRY_S = 5.0  # interval of attempts while this machine can do no job
MAX_FAILED_STARTS = 3
"""Attempts to load the engine until jobs fail. Ten seconds are enough for most updates to end."""


class Machine:
    """Decides what becomes of jobs while this machine can do none.

    A full disk passes: jobs wait for it, however long it takes. An engine that cannot be loaded
    mostly stays so, and no one may be there to see it: after some attempts, jobs fail with the
    reason. From then on one job in each interval tries it again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reason = ""
        self._failed_starts = 0
        self._until = 0.0
        """End of the current interval."""

    @property
    def waits_s(self) -> float:
        """Time for which no job shall be started; 0 if one may be started now."""
        return 0.0 if self._is_given_up else max(self._until - self._clock.monotonic(), 0.0)

    @property
    def _is_given_up(self) -> bool:
        return self._failed_starts >= MAX_FAILED_STARTS

    def works(self) -> None:
        """Note that a job was done."""
        self._reason, self._failed_starts, self._until = "", 0, 0.0

    def check(self) -> None:
        """Let a job begin.

        Raises:
            WorkFailed: This machine was given up, and it is not time to try it again.
        """
        if self._is_given_up and self._clock.monotonic() < self._until:
            raise self._refusal()

    def wait_for(self, fault: MachineAtFault) -> None:
        """Note a fault, for which the job shall wait.

        Raises:
            WorkFailed: The job shall fail.
        """
        now = self._clock.monotonic()
        if now >= self._until:  # not by the other jobs that were started together with the first
            self._until = now + RETRY_S
            # A fault of another kind shows that the engine was loaded.
            self._failed_starts = self._failed_starts + 1 if fault.is_of_engine else 0
        if self._reason != fault.message:
            self._reason = fault.message
            log.warning("no job can be done on this machine now; trying again: %s", fault.message)
        if self._is_given_up and fault.is_of_engine:
            raise self._refusal()

    def _refusal(self) -> WorkFailed:
        tried = counted(self._failed_starts, "failed start")
        return WorkFailed(
            ENGINE_NOT_INSTALLED,
            f"{self._reason.rstrip('.')}. The service has given up waiting for it after {tried}.",
        )
