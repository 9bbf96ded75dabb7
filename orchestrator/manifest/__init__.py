"""What the user wrote: schema, loading with line numbers, and the sources of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.manifest.loading import load_manifest
    from orchestrator.manifest.manifest import EndpointSettings, LocalServiceSettings, Manifest, TencentSettings

__all__ = ["EndpointSettings", "LocalServiceSettings", "Manifest", "TencentSettings", "json_schema", "load_manifest"]


def __getattr__(name: str) -> Any:
    """Import on first use: pydantic and YAML cost a tenth of a second, which ``--help`` does not have."""
    if name in __all__ and name != "json_schema":
        from orchestrator.manifest import loading, manifest

        return getattr(loading if name == "load_manifest" else manifest, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def json_schema() -> dict[str, Any]:
    """JSON Schema of the manifest, for editors."""
    from orchestrator.manifest import editor

    return editor.json_schema()
