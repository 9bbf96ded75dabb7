"""The verbs. Each module is imported for its signature only; its verb imports what it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

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
from orchestrator.cli.examples import epilog

if TYPE_CHECKING:
    from collections.abc import Callable

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


def _add(verb: str, act: Callable[..., None], short_help: str) -> None:
    """Add a verb. The short help fits one line of 80 columns."""
    app.command(verb, short_help=short_help, epilog=epilog(verb))(act)


_add("init", init.init, "Write a first manifest.")
_add("separate", separate.separate, "Separate files and folders, without a manifest.")
_add("doctor", doctor.doctor, "Check what can be checked before money is spent.")
_add("run", run.run, "Carry out a manifest; run again to resume.")
_add("plan", plan.plan, "Show what a run would do and cost.")
_add("validate", validate.validate, "Check a manifest; report every fault.")
_add("status", status.status, "Show the jobs of a manifest by state.")
_add("runs", runs.runs, "List the last runs of a manifest.")
_add("report", report.report, "Write the rows of a run: table, CSV, Parquet and more.")
_add("cancel", cancel.cancel, "Cancel the jobs that are not running yet.")
_add("serve", serve.serve, "Serve the local service on its own.")
_add("schema", schema.schema, "Write the JSON Schema of manifest or report.")
_add("fetch-engine", fetch_engine.fetch, "Fetch the separation engine, once.")
