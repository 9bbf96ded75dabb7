"""Reports, summaries and pages that name the run that wrote them: found, and deleted when old.

Another run or program may have written to the same path since.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from orchestrator.reporting.page.writer import is_page, page_path
from orchestrator.reporting.report_file import DAMAGED, open_report, present_report
from orchestrator.reporting.summary import summary_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.run import Run


def report_of(run: Run) -> Path | None:
    """Return the report of a run, or None if it is gone, of another run, or damaged at its start.

    A report without rows names no run; its summary does.
    """
    path = present_report(Path(run.report))
    start = _start_of(path)
    is_its_own = _names(start, run) or (start == b"" and summary_of(run) is not None)
    return path if is_its_own else None


def summary_of(run: Run) -> Path | None:
    """Return the summary of a run, or None if it is gone or of another run."""
    path = summary_path(Path(run.report))
    return path if _names(_start_of(path), run) else None


def _start_of(path: Path) -> bytes | None:
    """Return a whole summary, or the first line of a report; None if it cannot be read."""
    try:
        with open_report(path) as file:
            return file.read() if path.suffix == ".json" else file.readline()
    except (OSError, *DAMAGED):
        return None


def _names(content: bytes | None, run: Run) -> bool:
    """Return True if this JSON says that the run wrote it."""
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(content or b"")
        return isinstance(found, dict) and found.get("run") == run.id
    return False


_RUN_ID = r"-\d{8}T\d{6}Z(-\d+)?"
"""End of a run's id, after the name of its manifest (``ledger.run_rules``)."""


def delete_old_reports(runs: Sequence[Run], name: str, keep: int) -> list[Path]:
    """Delete the reports of all but the latest ``keep`` runs, with their summaries and pages.

    A file is deleted only if it names the run that wrote it.

    Args:
        runs: Runs of the ledger, the latest first.
        name: Name of the manifest; other manifests may share the ledger.
        keep: Number of runs whose reports are kept.

    Returns:
        The files that were deleted. One that cannot be deleted is left for the next run.
    """
    ours = [run for run in runs if re.fullmatch(re.escape(name) + _RUN_ID, run.id)]
    deleted: list[Path] = []
    for run in ours[keep:]:
        # All are read before one is deleted.
        for path in (report_of(run), summary_of(run), _page_of(run)):
            if path is None:
                continue
            with suppress(OSError):
                path.unlink()
                deleted.append(path)
    return deleted


def _page_of(run: Run) -> Path | None:
    """Return the page of a run, or None if it is gone or of another run."""
    path = page_path(Path(run.report))
    return path if is_page(path, run.id) else None
