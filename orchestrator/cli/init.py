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
            metavar="SOURCE",
            help="A folder of media, a list file, or cos://BUCKET/PREFIX; the current folder if "
            "left out.",
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
            help="The manifest, - for standard output; with --example also a folder.",
            show_default=False,
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(
            "--region",
            metavar="REGION",
            help="For example ap-chongqing: region of the bucket.",
            show_default=False,
        ),
    ] = None,
    example: Annotated[
        str | None,
        typer.Option(
            "--example",
            metavar="NAME",
            help="Write this example instead, with its media.",
            show_default=False,
        ),
    ] = None,
    list_examples: Annotated[
        bool, typer.Option("--list-examples", help="List the examples.")
    ] = False,
) -> None:
    """Write a commented manifest that runs as it is. Never overwrites a file.

    A folder and a list are for this machine, free of charge; names in a list start at its folder.
    cos://BUCKET/PREFIX is for Tencent Cloud CI.
    """
    if list_examples:
        _list_examples()
        return
    if example is not None:
        _write_example(example, source, output, region)
        return
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


def _list_examples() -> None:
    from orchestrator.commands.examples import EXAMPLES

    width = max(map(len, EXAMPLES))
    show("".join(f"{name:<{width}}  {text}\n" for name, text in EXAMPLES.items()))


def _write_example(name: str, source: str | None, output: Path | None, region: str | None) -> None:
    from orchestrator.commands.examples import example_text, write_example
    from orchestrator.commands.init import STDOUT
    from orchestrator.domain.wording import counted
    from orchestrator.errors import ConfigError

    if source is not None or region is not None:
        raise ConfigError("--example needs no source and no --region. Leave them out.")
    if output == STDOUT:
        show(example_text(name))
        return
    written = write_example(name, output)
    others = counted(written.others, "file that it needs", "files that it needs")
    more = f", with {others}" if written.others else ""
    done = "written" if written.is_new else "there already, and unchanged"
    show(
        f"{written.path}: {done}{more}\nnext: orchestrator plan {shlex.quote(str(written.path))}\n"
    )
