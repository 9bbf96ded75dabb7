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

_SHOWN = 5


def stems_of(manifest: Manifest, options: RunOptions) -> tuple[str, ...]:
    """Return folders of this machine, or addresses such as ``cos://bucket/prefix``.

    More than five folders become the one that holds them all.

    A list that names its buckets in a column is not read.
    """

    def shown(place: OutputPlace) -> str:
        if not manifest.is_local:
            return f"cos://{place.bucket}/{place.prefix}"
        root = local_root(manifest, ledger_path(manifest, options.ledger))
        return str((manifest.buckets.get(place.bucket) or root / place.bucket) / place.prefix)

    every = dict.fromkeys(shown(place) for place in output_places(manifest))
    places = [place for place in every if not any(place.startswith(f"{p}/") for p in every)]
    if len(places) > _SHOWN and manifest.is_local:
        return (os.path.commonpath(places),)
    return tuple(places[:_SHOWN])
