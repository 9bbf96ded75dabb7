"""What can be checked of a manifest before any object is known: templates of sources and rules, files of lists, settings of each source."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.manifest.faults import FaultList
    from orchestrator.manifest.loading import Manifest


def check(manifest: Manifest, faults: FaultList) -> None:
    """Add everything that is wrong with the manifest as it stands."""
