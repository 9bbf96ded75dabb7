"""Validate a manifest and its list files: every fault at once. Sends nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.manifest.planning.spec_stream import check

if TYPE_CHECKING:
    from orchestrator.commands.options import ManifestSource


async def validate(source: ManifestSource, *, max_faults: int) -> tuple[int, list[str]]:
    """Check what the manifest and its list files say; prefixes count as empty.

    Returns:
        Number of jobs that are named, and remarks on the sources.

    Raises:
        ManifestError: With the faults, at most ``max_faults``.
    """
    return await check(source.load(max_faults, to_run=True), max_faults)
