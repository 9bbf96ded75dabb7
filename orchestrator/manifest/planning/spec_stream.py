"""The jobs of a manifest as a stream: sources read, objects selected, specs planned."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.domain.remote import ObjectPage
from orchestrator.errors import ConfigError
from orchestrator.manifest.diagnostics import FaultList
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.planning.spill_file import FileScratch
from orchestrator.manifest.sources.stream import read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from orchestrator.domain.ports import ObjectStore
    from orchestrator.domain.remote import ObjectHead
    from orchestrator.domain.spec import Callback, JobSpec, Place
    from orchestrator.manifest import Manifest
    from orchestrator.manifest.sources.item import SourceItem
    from orchestrator.manifest.sources.selection import Selection


class Feed:
    """Reads a manifest once.

    Args:
        manifest: The manifest.
        store: For prefixes; None if there are none.
        selection: Which objects are wanted; all if None.
        faults: Takes what is wrong, and reading goes on without it. If None, the first faulty batch raises.
        callback: For jobs whose manifest names no callback of its own.
    """

    def __init__(
        self,
        manifest: Manifest,
        store: ObjectStore | None,
        selection: Selection | None = None,
        faults: FaultList | None = None,
        callback: Callback | None = None,
    ) -> None:
        self._manifest = manifest
        self._store = store
        self._selection = selection
        self._faults = faults
        self._callback = callback
        self._planner = Planner(manifest, faults, FileScratch)

    @property
    def duplicates(self) -> int:
        """Objects that were asked for twice with the same parameters, so far."""
        return self._planner.duplicates

    async def items(self) -> AsyncGenerator[list[SourceItem]]:
        """The selected objects, in batches.

        Raises:
            ManifestError: If a list file is faulty.
            OrchestratorError: If a bucket cannot be listed.
        """
        async for batch in read(self._manifest, self._store, faults=self._faults):
            yield self._selection.take(batch) if self._selection else batch
            if self._selection and self._selection.is_exhausted:
                return

    async def specs(self) -> AsyncGenerator[list[JobSpec]]:
        """Their jobs, in batches. While one is worked on, the next is made: planning and the ledger take about as long.

        Raises:
            ManifestError: If a source is faulty, or its jobs contradict each other.
            OrchestratorError: If a bucket cannot be listed.
        """
        planned = self._planned()
        ahead = asyncio.create_task(_next(planned))
        try:
            while (specs := await ahead) is not None:
                ahead = asyncio.create_task(_next(planned))
                yield specs
        finally:
            ahead.cancel()
            await asyncio.gather(
                ahead, return_exceptions=True
            )  # nobody wants to hear of the batch that is not taken
            await planned.aclose()

    async def _planned(self) -> AsyncGenerator[list[JobSpec]]:
        async for batch in self.items():
            specs = self._planner.specs(batch)
            if self._callback is not None:
                specs = [
                    spec if spec.callback else replace(spec, callback=self._callback)
                    for spec in specs
                ]
            yield specs


async def _next(planned: AsyncGenerator[list[JobSpec]]) -> list[JobSpec] | None:
    return await anext(planned, None)


async def check(manifest: Manifest, max_faults: int) -> int:
    """Check all that the manifest and its list files say; prefixes are taken as empty.

    Returns:
        How many jobs are named.

    Raises:
        ManifestError: With the faults, all at once.
    """
    faults = FaultList(max_faults)
    jobs = 0
    async for batch in Feed(manifest, _NothingListed(), faults=faults).specs():
        jobs += len(batch)
    faults.raise_if_any()
    return jobs


class _NothingListed:
    """An object storage that nobody is to ask for anything but a listing, which is empty."""

    async def list_objects(
        self,
        place: Place,  # noqa: ARG002
        prefix: str,  # noqa: ARG002
        marker: str = "",  # noqa: ARG002
        max_keys: int = 1000,  # noqa: ARG002
    ) -> ObjectPage:
        """No object."""
        return ObjectPage()

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """Not to be called."""
        raise ConfigError(f"{place.bucket}/{key} cannot be looked at: no storage is open.")
