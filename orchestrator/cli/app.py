"""The verbs. Each module is loaded for its signature only; its verb imports what it needs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final

import typer

from orchestrator._version import __version__
from orchestrator.cli.examples import epilog
from orchestrator.cli.verb import Verb

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

VERBS: Final = {
    "init": "Write a first manifest.",
    "separate": "Separate files and folders, without a manifest.",
    "doctor": "Check what can be checked before money is spent.",
    "run": "Carry out a manifest; run again to resume.",
    "plan": "Show what a run would do and cost.",
    "validate": "Check a manifest; report every fault.",
    "status": "Show the jobs of a manifest by state.",
    "runs": "List the last runs of a manifest.",
    "report": "Write the rows of a run: table, CSV, Parquet and more.",
    "cancel": "Cancel the jobs that are not running yet.",
    "serve": "Serve the local service on its own.",
    "schema": "Write the JSON Schema of manifest or report.",
    "fetch-engine": "Fetch the separation engine, once.",
}
"""The verbs, each with its short help, which fits one line of 80 columns. The module of a verb and
the function in it have its name."""


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """Return the command for what was typed: with the verb that it begins with, or with all.

    To load all verbs and read their signatures takes a third of the time of ``--help``.
    """
    return app_with([verb for verb in arguments[:1] if verb in VERBS] or VERBS)


def app_with(verbs: Iterable[str]) -> typer.Typer:
    """Return the command with some of the verbs."""
    app = typer.Typer(
        help="Bulk voice / background separation from one YAML manifest. "
        "Running again is resuming.",
        no_args_is_help=True,
        rich_markup_mode=None,  # plain help starts in half the time
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_main)
    for verb in verbs:
        name = verb.replace("-", "_")
        act = getattr(import_module(f"orchestrator.cli.{name}"), name)
        app.command(verb, cls=Verb, short_help=VERBS[verb], epilog=epilog(verb))(act)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchestrator {__version__}")
        raise typer.Exit


def _main(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass
