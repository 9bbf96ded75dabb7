"""The service's clock: ours, corrected by the time that the service gave with a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.client.service import CloudService
    from orchestrator.domain.ports import Clock


class ServiceClock:
    """``ports.Clock`` whose wall time is the service's.

    A job in doubt is looked for among the jobs that the service made since its request was sent.
    If our clock is ahead, that instant lies in the service's future: the job is not found, taken
    for absent, and paid for twice. Requests are signed with the corrected time, so the ledger
    records the same time.

    Args:
        own: This machine's clock.
        service: Knows the correction.
    """

    def __init__(self, own: Clock, service: CloudService) -> None:
        self._own = own
        self._service = service

    def now(self) -> float:
        """Return seconds since the epoch by the service's clock; steps with each correction."""
        return self._own.now() + self._service.clock_offset_s

    def monotonic(self) -> float:
        """Return seconds that never decrease."""
        return self._own.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Wait for ``delay_s`` seconds."""
        await self._own.sleep(delay_s)
