"""Rows of a manifest's runs: what ``orchestrator report`` writes, in any format."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Protocol, cast

import orjson

from orchestrator.commands.options import no_runs_text
from orchestrator.commands.resources import ledger_path
from orchestrator.commands.stems import bucket_folders
from orchestrator.domain.states import TERMINAL
from orchestrator.errors import ConfigError
from orchestrator.ledger import open_ledger
from orchestrator.reporting.report_file import DAMAGED, open_report
from orchestrator.reporting.row import ROW_STATES, row
from orchestrator.reporting.run_files import report_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from orchestrator.commands.options import ManifestSource
    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Run
    from orchestrator.manifest import Manifest
    from orchestrator.reporting.row import FolderOf, Row

ALL_RUNS = 1_000_000
"""More runs than a ledger has."""
_PAGE = 1000


class RowWriter(Protocol):
    """Writes rows in one format."""

    def write(self, rows: Sequence[Row]) -> None:
        """Write these rows."""
        ...


async def report(
    source: ManifestSource,
    writer: RowWriter,
    *,
    ledger: str | None = None,
    run: str = "last",
    states: Collection[str] = (),
) -> bool:
    """Write the rows of a run, or of all jobs as they are now.

    The rows of the last run come from the ledger, those of an earlier run from its report, because
    the ledger has each job once, as its last run left it.

    Args:
        source: The manifest.
        writer: Where to.
        ledger: Path or URL of the ledger.
        run: Id of a run, ``last`` or ``all``.
        states: Only rows in these states. If none is given, rows of skipped jobs are left out,
            unless the manifest wants them in its report.

    Returns:
        False if jobs may be missing: the report of an earlier run breaks off, or it is gone or
        damaged at its start, and the ledger lacks the jobs that later runs took up.

    Raises:
        ConfigError: If there is no such run.
        OrchestratorError: If the manifest is faulty or the ledger cannot be read.
    """
    manifest = source.load()
    location = ledger_path(manifest, ledger)
    opened = open_ledger(location, read_only=True)
    try:
        folder_of = bucket_folders(manifest, location)
        wanted = frozenset(states or usual_states(manifest))
        if run != "all" and not await opened.runs(1):
            raise ConfigError(no_runs_text(source.path))
        return await write_rows(opened, writer, run, wanted, folder_of)
    finally:
        await opened.close()


async def write_rows(
    ledger: Ledger,
    writer: RowWriter,
    run: str,
    states: Collection[str],
    folder_of: FolderOf | None,
) -> bool:
    """Write the rows of a run in an open ledger; see ``report``."""
    runs = await ledger.runs(ALL_RUNS)
    chosen = chosen_run(runs, run)
    earlier = chosen if chosen is not None and chosen is not runs[0] else None
    stored = None if earlier is None else _StoredReport.of(earlier)
    pages = _rows(ledger, runs, chosen, folder_of) if stored is None else stored.pages()
    async for rows in pages:
        writer.write([each for each in rows if each["state"] in states])
    return earlier is None or (stored is not None and stored.is_whole)


def usual_states(manifest: Manifest) -> list[str]:
    """Return the states of the rows that a report has unless others are asked for."""
    return [state for state in ROW_STATES if manifest.reports_all or state != "skipped"]


def chosen_run(runs: Sequence[Run], wanted: str) -> Run | None:
    """Return the run that is asked for, or None for all of them.

    Raises:
        ConfigError: If there is no such run.
    """
    if wanted == "all":
        return None
    if not runs:
        raise ConfigError("There are no runs yet.")
    if wanted == "last":
        return runs[0]
    found = next((run for run in runs if run.id == wanted), None)
    if found is None:
        raise ConfigError(
            f"--run {wanted}: the ledger has no such run. Write last, all, or an id that "
            f"orchestrator runs lists, for example {runs[0].id}."
        )
    return found


async def _rows(
    ledger: Ledger, runs: Sequence[Run], chosen: Run | None, folder_of: FolderOf | None
) -> AsyncGenerator[list[Row]]:
    if chosen is None:
        by_number = {run.number: run for run in runs}
        after_id = 0
        while jobs := await ledger.in_states(TERMINAL, after_id, _PAGE):
            after_id = jobs[-1].id
            for job in jobs:
                job.skipped = False  # its own state, not what the last run did with it
            yield [
                row(job, by_number[job.run_no], folder_of)
                for job in jobs
                if job.run_no in by_number
            ]
    else:
        after_row = 0
        while (page := await next_rows(ledger, chosen, after_row, folder_of))[0]:
            rows, after_row = page
            yield rows


async def next_rows(
    ledger: Ledger, run: Run, after_row: int, folder_of: FolderOf | None
) -> tuple[list[Row], int]:
    """Return rows of a run's report beyond a number, in order, and the number of the last."""
    jobs = await ledger.rows(run, after_row, _PAGE)
    return [row(job, run, folder_of) for job in jobs], jobs[-1].row if jobs else after_row


class _StoredReport:
    """The report of an earlier run.

    Args:
        path: Its file.

    Attributes:
        is_whole: False once a line, or all from some place on, turned out to be damaged.
    """

    def __init__(self, path: Path) -> None:
        self.is_whole = True
        self._path = path

    @classmethod
    def of(cls, run: Run) -> Self | None:
        """Return the report of a run, or None if its file is gone or damaged at its start."""
        path = report_of(run)
        return None if path is None else cls(path)

    async def pages(self) -> AsyncGenerator[list[Row]]:
        """Yield its rows, up to the place where it breaks off."""
        rows = self._rows()
        while page := list(islice(rows, _PAGE)):
            yield page

    def _rows(self) -> Iterator[Row]:
        try:
            with open_report(self._path) as file:
                for text in file:
                    if (found := _row_in(text)) is not None:
                        yield found
                    else:
                        self.is_whole = False
        except (OSError, *DAMAGED):
            self.is_whole = False


def _row_in(text: bytes) -> Row | None:
    """Return the row that a line holds, or None if it is damaged, as a torn last line is."""
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(text)
        if isinstance(found, dict) and "run" in found:
            return cast("Row", found)
    return None
