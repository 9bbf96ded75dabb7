"""Manifests: from YAML with line numbers to media objects and job specs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.manifest.load import load_manifest
    from orchestrator.manifest.manifest import (
        EndpointSettings,
        LocalServiceSettings,
        Manifest,
        TencentSettings,
    )
    from orchestrator.manifest.schema.json_schema import json_schema

__all__ = [
    "EndpointSettings",
    "LocalServiceSettings",
    "Manifest",
    "TencentSettings",
    "json_schema",
    "load_manifest",
]


def __getattr__(name: str) -> Any:
    """Import on first use: pydantic and YAML take 0.1 s, too long for ``--help``."""
    if name == "json_schema":
        from orchestrator.manifest.schema.json_schema import json_schema

        return json_schema
    if name in __all__:
        from orchestrator.manifest import load, manifest

        return getattr(load if name == "load_manifest" else manifest, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
