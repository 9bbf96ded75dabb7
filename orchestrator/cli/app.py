"""The verbs. Each module is imported for its signature only; its verb imports what it needs."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator._version import __version__
from orchestrator.cli import (
    cancel,
    doctor,
    fetch_engine,
    init,
    plan,
    report,
    run,
    runs,
    schema,
    separate,
    serve,
    status,
    validate,
)

app = typer.Typer(
    help="Bulk voice / background separation from one YAML manifest. Running again is resuming.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help starts in half the time
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchestrator {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


# Each short help fits one line of 80 columns.
app.command("init", short_help="Write a first manifest.")(init.init)
app.command("separate", short_help="Separate files and folders, without a manifest.")(
    separate.separate
)
app.command("doctor", short_help="Check what can be checked before money is spent.")(doctor.doctor)
app.command("run", short_help="Carry out a manifest; run again to resume.")(run.run)
app.command("plan", short_help="Show what a run would do and cost.")(plan.plan)
app.command("validate", short_help="Check a manifest; report every fault.")(validate.validate)
app.command("status", short_help="Show the jobs of a manifest by state.")(status.status)
app.command("runs", short_help="List the last runs of a manifest.")(runs.runs)
app.command("report", short_help="Write the rows of a run as a table, CSV, Parquet ...")(
    report.report
)
app.command("cancel", short_help="Cancel the jobs that are not running yet.")(cancel.cancel)
app.command("serve", short_help="Serve the local service on its own.")(serve.serve)
app.command("schema", short_help="Write the JSON Schema of manifest or report.")(schema.schema)
app.command("fetch-engine", short_help="Fetch the separation engine, once.")(fetch_engine.fetch)
