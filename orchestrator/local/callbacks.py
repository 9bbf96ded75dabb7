"""Callbacks of finished jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.local.jobrow import JobRow


class Callbacks:
    """Tells nobody."""

    async def tell(self, row: JobRow) -> None:
        """A job ended."""
