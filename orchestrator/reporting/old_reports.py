"""Deletion of old reports: only files that a run of this ledger wrote."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.reporting.page.writer import is_page, page_path
from orchestrator.reporting.report_owner import report_of, summary_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.run import Run

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
