"""The jobs of a manifest as a stream: read sources, select objects, plan specs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.domain.clock import SystemClock
from orchestrator.errors import PlanError
from orchestrator.manifest.diagnostics import FaultList
from orchestrator.manifest.planning.inputs_ahead import InputsAhead
from orchestrator.manifest.planning.planner import Planner
from orchestrator.manifest.planning.spill_file import FileScratch
from orchestrator.manifest.schema.inputs import ListInput, ObjectInput
from orchestrator.manifest.sources.stream import Found, read

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from orchestrator.domain.ports import ObjectStore
    from orchestrator.domain.spec import Callback, JobSpec
    from orchestrator.manifest import Manifest
    from orchestrator.manifest.sources.item import SourceItem
    from orchestrator.manifest.sources.selection import Selection


class Feed:
    """One pass over a manifest.

    Args:
        manifest: The manifest.
        store: Storage to list prefixes; None if there are none.
        selection: Objects to take; all if None.
        faults: Collects faults, and reading continues. If None, the first faulty batch raises.
        callback: Callback of jobs for which the manifest sets none.
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
        ahead = None if store is None else InputsAhead(manifest, store, SystemClock())
        self._ahead = ahead if ahead is not None and ahead.is_needed else None
        self.found = Found(manifest.region_remarks())
        """Facts about the sources, complete when all were read."""

    @property
    def duplicates(self) -> int:
        """Jobs left out until now because the same job came before."""
        return self._planner.duplicates

    async def items(self) -> AsyncGenerator[list[SourceItem]]:
        """Yield the selected objects, in batches.

        Raises:
            ManifestError: If a list file is faulty.
            OrchestratorError: If a bucket cannot be listed.
        """
        read_all = read(self._manifest, self._store, faults=self._faults, found=self.found)
        async for batch in read_all:
            yield self._selection.take(batch) if self._selection else batch
            if self._selection and self._selection.is_exhausted:
                return
        if self._selection is not None:
            self.found.remarks += self._selection.remarks()
        if self._selection is None or self._selection.is_whole:
            self.found.remarks += self._planner.recipes.remarks()

    async def specs(self) -> AsyncGenerator[list[JobSpec]]:
        """Yield their jobs, in batches.

        The next batch is planned while the caller works on this one: planning and the ledger take
        about the same time.

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
            await asyncio.gather(ahead, return_exceptions=True)  # an error there has no reader
            await planned.aclose()

    async def _planned(self) -> AsyncGenerator[list[JobSpec]]:
        async for batch in self.items():
            specs = self._planner.specs(batch)
            if self._ahead is not None:
                await self._refuse_to_overwrite(specs, self._ahead)
            if self._callback is not None:
                specs = [
                    spec if spec.callback else replace(spec, callback=self._callback)
                    for spec in specs
                ]
            yield specs
        self.found.remarks += self._planner.remarks()

    async def _refuse_to_overwrite(self, specs: list[JobSpec], ahead: InputsAhead) -> None:
        """Stop before a job is sent that would overwrite an input that is not listed yet.

        Raises:
            PlanError: If there is one, unless faults are collected.
        """
        faults = FaultList() if self._faults is None else self._faults
        for spec in specs:
            if not spec.is_refused and (fault := await ahead.fault(spec)) is not None:
                faults.add(fault)
        if self._faults is None:
            faults.raise_if_any(PlanError)


async def _next(planned: AsyncGenerator[list[JobSpec]]) -> list[JobSpec] | None:
    return await anext(planned, None)


async def check(manifest: Manifest, max_faults: int) -> tuple[int, list[str]]:
    """Check the manifest and its list files without prefixes.

    Returns:
        The number of jobs, and what the user may want to know about the sources.

    Raises:
        ManifestError: With all faults.
    """
    faults = FaultList(max_faults)
    planner = Planner(manifest, faults, FileScratch)
    jobs = 0
    found = Found(manifest.region_remarks())
    async for batch in read(manifest, faults=faults, skip_prefixes=True, found=found):
        jobs += len(planner.specs(batch))
    faults.raise_if_any()
    found.remarks += planner.remarks()
    if all(isinstance(source, ListInput | ObjectInput) for source in manifest.inputs):
        found.remarks += planner.recipes.remarks()
    return jobs, found.remarks
