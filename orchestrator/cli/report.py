"""``orchestrator report``: the rows of a run, in the format that the reader wants."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from orchestrator.cli.options import (
    LedgerOption,
    ManifestArgument,
    ServiceOption,
    SetOption,
    manifest_source,
)
from orchestrator.domain.wording import listed
from orchestrator.errors import ConfigError, ReportError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.commands.options import ManifestSource
    from orchestrator.commands.page import PageOptions

_FORMATS = ("table", "jsonl", "csv", "parquet", "html", "md")
_NARROWEST = 60


def report(
    manifest: ManifestArgument,
    *,
    service: ServiceOption = None,
    ledger: LedgerOption = None,
    sets: SetOption = None,
    run: Annotated[
        str,
        typer.Option("--run", metavar="ID|last|all", help="Run; all: every job, as it is now."),
    ] = "last",
    state: Annotated[
        str | None,
        typer.Option(
            "--state",
            metavar="failed,...",
            help="Only rows in these states.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="|".join(_FORMATS),
            help="Format; by the file's name, else a table.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="FILE|-", help="File; - is standard output."),
    ] = "-",
    links: Annotated[
        str | None,
        typer.Option(
            "--links",
            metavar="24h",
            help="html: signed links to the cloud's files, valid for this long; whoever has the "
            "page can read them.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write the rows of a run of MANIFEST. Reads the ledger, also while a run is working."""
    import asyncio

    from orchestrator.cli import complain
    from orchestrator.cli.parsers import read_duration_s
    from orchestrator.commands.page import PageOptions
    from orchestrator.commands.report import report as write_report
    from orchestrator.reporting.row import ROW_STATES

    chosen = _format(form, output)
    states = _states(state, ROW_STATES)
    source = manifest_source(manifest, service, sets)
    if output != "-" and Path(output).resolve() == source.path.resolve():
        raise ConfigError(f"-o {output} is the manifest itself. Name another file.")
    links_s = read_duration_s("--links", links)
    if chosen == "html":
        folder = Path.cwd() if output == "-" else Path(output).parent
        _write_page(source, output, PageOptions(folder, run, states, links_s), ledger)
        return
    if links is not None:
        raise ConfigError(f"--links: only a page has links. Add --format html, not {chosen}.")
    is_whole = True  # also if the reader of standard output ends before all is written
    with _opened(output) as file:
        writer = _writer(chosen, file, f"{manifest.name}: {run} run")
        is_whole = asyncio.run(write_report(source, writer, ledger=ledger, run=run, states=states))
        writer.close()
    if not is_whole:
        complain(f"The report of run {run} is gone or damaged: rows of some jobs may be missing.")


def _write_page(
    source: ManifestSource, output: str, options: PageOptions, ledger: str | None
) -> None:
    """Write the page, and say what it lacks."""
    import asyncio

    from orchestrator.cli import complain
    from orchestrator.cli.output import counting
    from orchestrator.commands.page import write_page

    lacks: list[str] = []  # also if the reader of standard output ends before all is written
    with _opened(output) as file, counting("waveforms") as progress:
        options = replace(options, progress=progress)
        lacks = asyncio.run(write_page(source, file, options, ledger=ledger))
    for text in lacks:
        complain(text)


def _format(given: str | None, output: str) -> str:
    """Return the format that is asked for, or that the file's name means.

    Raises:
        ConfigError: If it is not known, or cannot be shown on a terminal.
    """
    from orchestrator.commands.options import check_word

    suffix = Path(output).suffix.removeprefix(".").lower()
    if given is None:
        if output != "-" and suffix not in _FORMATS:
            raise ConfigError(
                f"-o {output}: the name does not tell the format. "
                f"Add --format {listed(_FORMATS)}, or end the name in .csv for example."
            )
        given = "table" if output == "-" else suffix
    check_word("--format", given, _FORMATS)
    if given == "parquet" and output == "-" and sys.stdout.isatty():
        raise ConfigError("Parquet is not text. Name a file, for example -o jobs.parquet.")
    return given


def _states(given: str | None, known: tuple[str, ...]) -> list[str]:
    """Return the states that are asked for.

    Raises:
        ConfigError: If one of them is not known.
    """
    from orchestrator.commands.options import check_word

    states = [each.strip() for each in (given or "").split(",") if each.strip()]
    for each in states:
        check_word("--state", each, known)
    return states


@contextmanager
def _opened(output: str) -> Iterator[BinaryIO]:
    """Yield the file to write to; an existing one is replaced when all is written.

    Raises:
        ReportError: If it cannot be written.
    """
    from orchestrator.cli.output import standard_output
    from orchestrator.durable import replacing, unwritable

    if output == "-":
        with standard_output() as file:
            yield file
        return
    path = Path(output)
    try:
        with replacing(path) as file:
            yield file
    except OSError as error:
        raise ReportError(unwritable(path, error, "Choose another name with -o.")) from error


def _writer(form: str, file: BinaryIO, title: str) -> Any:
    from orchestrator.reporting.export import tables, text

    match form:
        case "jsonl":
            return tables.LineWriter(file)
        case "csv":
            return tables.CsvWriter(file)
        case "parquet":
            return tables.ParquetWriter(file)
        case "md":
            return text.MarkdownWriter(file, title)
        case _:
            return text.TableWriter(file, max(shutil.get_terminal_size().columns, _NARROWEST))
