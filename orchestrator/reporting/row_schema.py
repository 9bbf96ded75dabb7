"""JSON Schema of one row of the report."""

from __future__ import annotations

from typing import Any

from orchestrator.domain.spec import Stem
from orchestrator.domain.states import TERMINAL
from orchestrator.reporting.row import ROW_SCHEMA

ROW_STATES = (*sorted(state.value for state in TERMINAL), "skipped")
"""States that a row can have."""
_TEXT = {"type": "string"}
_INSTANT = {"type": ["string", "null"], "format": "date-time"}


def row_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a row, as ``row.row`` makes it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "orchestrator report row",
        "description": "One job of one run; the report has exactly one row per job.",
        **_object(
            {
                "schema": {"const": ROW_SCHEMA},
                "run": {**_TEXT, "description": "Id of the run."},
                "key": {
                    **_TEXT,
                    "description": "Identity of the job: object, version, operation and output.",
                },
                "state": {
                    "enum": list(ROW_STATES),
                    "description": "skipped: done in an earlier run.",
                },
                "level": {"enum": [0, 1, 2], "description": "JobLevel; larger goes first."},
                "input": _object(
                    {"bucket": _TEXT, "region": _TEXT, "object": _TEXT, "etag": _TEXT}
                ),
                "output": _object(
                    {"bucket": _TEXT, "region": _TEXT, **{stem.value: _TEXT for stem in Stem}},
                    optional=(Stem.BASS.value, Stem.DRUMS.value),
                ),
                "job_id": {
                    **_TEXT,
                    "description": "Id at the service; empty if the job never got there.",
                },
                "queue_id": _TEXT,
                "attempts": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "POSTs that may have reached the service.",
                },
                "adopted": {
                    "type": "boolean",
                    "description": "Found at the service by its key, after its answer was lost.",
                },
                "code": {**_TEXT, "description": "Error code if it did not succeed; else empty."},
                "message": _TEXT,
                "request_id": _TEXT,
                "submitted_at": _INSTANT,
                "started_at": _INSTANT,
                "finished_at": _INSTANT,
                "media_duration_s": {"type": ["number", "null"]},
                "files": {"type": "array", "items": _stem_file()},
                "user_data": {**_TEXT, "description": "The user's own, without our key."},
            }
        ),
    }


def _stem_file() -> dict[str, Any]:
    return _object(
        {
            "stem": {"enum": [stem.value for stem in Stem]},
            "object": _TEXT,
            "md5": _TEXT,
            "size_bytes": {"type": ["integer", "null"], "minimum": 0},
            "verified": {"type": "boolean", "description": "It was seen in its bucket."},
            "path": {**_TEXT, "description": "Where it is on this machine, if it is."},
        },
        optional=("path",),
    )


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
