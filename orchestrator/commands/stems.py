"""Say where the stems of a manifest are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from orchestrator.commands.resources import ledger_path, local_root
from orchestrator.manifest.planning.output_places import output_places

if TYPE_CHECKING:
    from orchestrator.commands.options import RunOptions
    from orchestrator.manifest import Manifest
    from orchestrator.manifest.planning.output_places import OutputPlace
    from orchestrator.reporting.row import FolderOf

_SHOWN = 5


def bucket_folders(manifest: Manifest, ledger: str) -> FolderOf | None:
    """Return how the folder of a bucket is found; None if the service is elsewhere."""
    if not manifest.is_local:
        return None
    root = local_root(manifest, ledger)
    return lambda bucket: str(manifest.buckets.get(bucket) or root / bucket)


def stems_of(manifest: Manifest, options: RunOptions) -> tuple[str, ...]:
    """Return folders of this machine, or addresses such as ``cos://bucket/prefix``.

    More than five folders become the one that holds them all.

    A list that names its buckets in a column is not read.
    """
    folder_of = bucket_folders(manifest, ledger_path(manifest, options.ledger))

    def shown(place: OutputPlace) -> str:
        folder = folder_of(place.bucket) if folder_of else f"cos://{place.bucket}"
        return f"{folder}/{place.prefix}".removesuffix("/")

    every = dict.fromkeys(shown(place) for place in output_places(manifest))
    places = [place for place in every if not any(place.startswith(f"{p}/") for p in every)]
    if len(places) > _SHOWN and manifest.is_local:
        return (os.path.commonpath(places),)
    return tuple(places[:_SHOWN])
