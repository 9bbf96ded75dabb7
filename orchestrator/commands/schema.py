"""JSON Schemas of what is read and of what is written."""

from __future__ import annotations

from typing import Any

from orchestrator.domain.wording import nearest_word
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
        from orchestrator.reporting.row import row_schema

        return row_schema()
    near = nearest_word(name, ("manifest", "report"))
    hint = f" Did you mean {near}?" if near else ""
    raise ConfigError(f"schema {name}: write manifest or report.{hint}")
