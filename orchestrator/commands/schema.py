"""JSON Schemas of what is read and of what is written."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import ConfigError


def schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of the ``manifest`` or of a row of the ``report``.

    Raises:
        ConfigError: If ``name`` is neither.
    """
    if name == "manifest":
        from orchestrator.manifest import json_schema

        return json_schema()
    if name == "report":
        from orchestrator.reporting.row_schema import row_schema

        return row_schema()
    raise ConfigError(f"schema {name}: write manifest or report.")
