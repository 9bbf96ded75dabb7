"""Rows of a manifest's runs: what ``orchestrator report`` writes, in any format."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import orjson

from orchestrator.commands.resources import ledger_path
from orchestrator.commands.stems import bucket_folders
from orchestrator.domain.states import TERMINAL
from orchestrator.errors import ConfigError
from orchestrator.ledger import open_ledger
from orchestrator.reporting.report_file import open_report, present_report
from orchestrator.reporting.row import row

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterator, Sequence

    from orchestrator.commands.options import ManifestSource
    from orchestrator.domain.ports import Ledger
    from orchestrator.domain.run import Run
    from orchestrator.manifest import Manifest
    from orchestrator.reporting.row import FolderOf, Row

_ALL_RUNS = 1_000_000
_PAGE = 1000
ROW_STATES = (*sorted(state.value for state in TERMINAL), "skipped")
"""States that a row can have."""


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
        False if jobs may be missing: the report of an earlier run is gone, and the ledger lacks
        those that later runs took up.

    Raises:
        ConfigError: If there is no such run.
        OrchestratorError: If the manifest is faulty or the ledger cannot be read.
    """
    manifest = source.load()
    location = ledger_path(manifest, ledger)
    opened = open_ledger(location, read_only=True)
    wanted = frozenset(states or _usual_states(manifest))
    try:
        runs = await opened.runs(_ALL_RUNS)
        chosen = _chosen(runs, run)
        folder_of = bucket_folders(manifest, location)
        async for rows in _rows(opened, runs, chosen, folder_of):
            writer.write([each for each in rows if each["state"] in wanted])
    finally:
        await opened.close()
    return chosen is None or chosen is runs[0] or _report_of(chosen) is not None


def _usual_states(manifest: Manifest) -> list[str]:
    return [state for state in ROW_STATES if manifest.reports_all or state != "skipped"]


def _chosen(runs: Sequence[Run], wanted: str) -> Run | None:
    """Return the run that is asked for, or None for all of them."""
    if wanted == "all":
        return None
    if not runs:
        raise ConfigError("There are no runs yet. Start one with: orchestrator run MANIFEST")
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
    elif chosen is not runs[0] and (path := _report_of(chosen)) is not None:
        stored = _stored_rows(path)
        while page := list(islice(stored, _PAGE)):
            yield page
    else:
        after_row = 0
        while jobs := await ledger.rows(chosen, after_row, _PAGE):
            after_row = jobs[-1].row
            yield [row(job, chosen, folder_of) for job in jobs]


def _report_of(run: Run) -> Path | None:
    """Return the report of a run if its file is still there."""
    path = present_report(Path(run.report))
    with suppress(OSError, EOFError, StopIteration):
        return path if next(_stored_rows(path))["run"] == run.id else None
    return None


def _stored_rows(path: Path) -> Iterator[Row]:
    with open_report(path) as file:
        for text in file:
            with suppress(orjson.JSONDecodeError):  # a torn last line
                found = orjson.loads(text)
                if isinstance(found, dict) and "run" in found:
                    yield cast("Row", found)
