"""The verbs, registered. Each module is imported only for its signature; what a verb needs it imports when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

import orchestrator
from orchestrator.cli import cancel, fetch_engine, run, schema, serve, status, validate

app = typer.Typer(
    help="Bulk voice / background separation from one YAML manifest. Running again is resuming.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help starts in half the time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchestrator {orchestrator.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    pass


app.command("run")(run.run)
app.command("validate")(validate.validate)
app.command("status")(status.status)
app.command("cancel")(cancel.cancel)
app.command("serve")(serve.serve)
app.command("schema")(schema.schema)
app.command("fetch-engine")(fetch_engine.fetch)
