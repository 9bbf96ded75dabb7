"""``orchestrator init``: write a first manifest."""

from __future__ import annotations

import shlex
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from orchestrator.cli.output import show


def init(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[FOLDER|LIST|cos://BUCKET/PREFIX]",
            help="Media to process; the current folder if left out.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The manifest; - for standard output.",
            show_default=False,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="REGION",
            help="Region of the bucket, for example ap-chongqing.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a commented manifest that runs as it is. Never overwrites a file.

    A folder and a list are for this machine, free of charge; names in a list start at its folder.
    cos://BUCKET/PREFIX is for Tencent Cloud CI.
    """
    from orchestrator.cli import complain
    from orchestrator.commands.init import STDOUT
    from orchestrator.commands.init import init as write

    draft = write(source, output, region)
    if draft.path == STDOUT:
        show(draft.text)
    else:
        show(f"{draft.path}: written\nnext: orchestrator plan {shlex.quote(str(draft.path))}\n")
    if draft.note:
        complain(draft.note)
