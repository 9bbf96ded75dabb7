"""``orchestrator separate``: files and folders to stems, without a manifest."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from orchestrator.cli import options as opt  # noqa: TC001 - typer reads the annotations


def separate(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH", help="Files and folders.", show_default=False),
    ],
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder of the stems; stems in the current folder if left out.",
            show_default=False,
        ),
    ] = None,
    codec: Annotated[
        str, typer.Option("--codec", metavar="CODEC", help="mp3, wav, flac, aac or amr.")
    ] = "mp3",
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE",
            help="Keep the manifest that this command makes.",
            show_default=False,
        ),
    ] = None,
    dry_run: opt.DryRunOption = False,
    json: opt.JsonOption = False,
    log_json: opt.LogJsonOption = False,
    quiet: opt.QuietOption = False,
    verbose: opt.VerboseOption = False,
    stats: opt.StatsOption = "1m",
) -> None:
    """Separate voice and background of files and folders, on this machine.

    Folders are searched for media files. The stems are in DIR/NAME/voice.mp3 and background.mp3;
    those of a folder in DIR/FOLDER/FILE/. Run it again to resume: what is done is skipped, new and
    changed files are added, and what failed is tried again.
    """
    from orchestrator.cli.display import Display
    from orchestrator.cli.plan import show_plan
    from orchestrator.cli.run import carry_out, conclude
    from orchestrator.commands.separate import Request, prepare

    display = Display.chosen(log_json=log_json, quiet=quiet, verbose=verbose, stats=stats)
    source, options = prepare(Request(tuple(paths), output, codec, save))
    if dry_run:
        show_plan(source, options, json=json)
        return
    finished = carry_out(source, options, display)
    raise typer.Exit(conclude(finished, quiet=quiet, json=json))
