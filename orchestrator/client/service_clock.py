"""The service's clock, as far as it is known: ours, corrected by what the service said when it refused a request for its time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.client.service import CloudService
    from orchestrator.domain.ports import Clock


class ServiceClock:
    """``ports.Clock`` whose wall time is the service's.

    A job that may exist is looked for among those that the service made since its request was sent. Told by a clock that is ahead, that
    instant lies in the service's future: the job is not found, is taken for absent, and is paid for twice. A request that is accepted
    was signed with the corrected time, so the same time belongs into the ledger.

    Args:
        own: This machine's clock.
        service: Knows by how much it is wrong.
    """

    def __init__(self, own: Clock, service: CloudService) -> None:
        self._own = own
        self._service = service

    def now(self) -> float:
        """Seconds since the epoch by the service's clock; steps when a correction is learned."""
        return self._own.now() + self._service.clock_offset_s

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._own.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Let ``delay_s`` seconds pass."""
        await self._own.sleep(delay_s)
