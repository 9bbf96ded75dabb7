"""``orchestrator schema``: JSON Schema of what is read and of what is written."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.output import show_json


def schema(
    what: Annotated[
        str,
        typer.Argument(metavar="manifest|report", help="The manifest, or one row of the report."),
    ] = "manifest",
) -> None:
    """Write the JSON Schema of the manifest (for editors) or of the report's rows."""
    from orchestrator.commands.schema import schema as schema_of

    show_json(schema_of(what))
