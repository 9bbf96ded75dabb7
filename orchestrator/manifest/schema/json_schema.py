"""JSON Schema of the manifest, for editors."""

from __future__ import annotations

from typing import Any

from orchestrator.manifest.schema.manifest_file import SCHEMA_ID, ManifestFile

_KEYWORDS = {
    # Constraints behind a validator of ours keep pydantic's names; these are JSON Schema's.
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "max_length": "maxLength",
}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12), with descriptions, defaults, examples and enums."""
    schema = _tidy(ManifestFile.model_json_schema(by_alias=True))
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "orchestrator manifest",
    }
    return {**head, **schema}


def _tidy(node: Any) -> Any:
    """Return the schema with JSON Schema's keywords, without titles that repeat the keys."""
    if isinstance(node, list):
        return [_tidy(item) for item in node]
    if not isinstance(node, dict):
        return node
    tidy: dict[str, Any] = {}
    for key, value in node.items():
        if key in {"properties", "$defs"}:
            tidy[key] = {name: _tidy(inner) for name, inner in value.items()}
        elif key in {"default", "examples", "enum", "const"}:
            tidy[key] = value
        elif key == "description":
            tidy[key] = " ".join(value.split())
        elif key != "title":
            tidy[_KEYWORDS.get(str(key), str(key))] = _tidy(value)
    return tidy
