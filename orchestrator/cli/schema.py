"""``orchestrator schema``: JSON Schema of what is read and of what is written."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def schema(
    what: Annotated[str, typer.Argument(metavar="manifest|report", help="The manifest, or one row of the report.")] = "manifest",
) -> None:
    """Write the JSON Schema of the manifest (for editors) or of the report's rows."""
    import orjson

    from orchestrator.errors import ConfigError

    if what == "manifest":
        from orchestrator.manifest import json_schema

        content = json_schema()
    elif what == "report":
        from orchestrator.report_schema import row_schema

        content = row_schema()
    else:
        raise ConfigError(f"schema {what}: write manifest or report.")
    sys.stdout.buffer.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
