"""JSON Schema of the manifest, for editors."""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from orchestrator.manifest.schema.job_settings import Part
from orchestrator.manifest.schema.manifest_file import SCHEMA_ID, ManifestFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core.core_schema import ModelSchema

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
    schema = _tidy(ManifestFile.model_json_schema(by_alias=True, schema_generator=_Described))
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": "orchestrator manifest",
    }
    return {**head, **schema}


class _Described(GenerateJsonSchema):
    """Makes the schema of a model, with the text below each key as its description.

    pydantic itself can read these texts (``use_attribute_docstrings``), but does so whenever the
    models are imported: a third of the time that a manifest takes to load.
    """

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        """Return the schema of one model."""
        made = super().model_schema(schema)
        model: type[Part] = schema["cls"]
        texts = {name: text for each in reversed(model.__mro__) for name, text in _texts(each)}
        for name, field in model.model_fields.items():
            key = made["properties"][field.alias or name]
            if self.resolve_ref_schema(key).get("description") != texts[name]:
                key["description"] = texts[name]
        return made


def _texts(model: type) -> Iterator[tuple[str, str]]:
    """Yield the keys that a model itself adds, each with the text below it."""
    if not issubclass(model, Part):
        return
    (source,) = (
        node
        for node in ast.parse(inspect.getsource(sys.modules[model.__module__])).body
        if isinstance(node, ast.ClassDef) and node.name == model.__name__
    )
    for key, below in pairwise(source.body):
        match key, below:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                yield name, inspect.cleandoc(text)
            case _:
                pass


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
