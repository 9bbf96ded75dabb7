"""Deletion of old reports: only files that a run of this ledger wrote."""

from __future__ import annotations

import re
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from orchestrator.reporting.report_file import open_report, present_report
from orchestrator.reporting.summary import summary_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orchestrator.domain.run import Run

_RUN_ID = r"-\d{8}T\d{6}Z(-\d+)?"
"""End of a run's id, after the name of its manifest (``ledger.run_rules``)."""


def delete_old_reports(runs: Sequence[Run], name: str, keep: int) -> list[Path]:
    """Delete the reports of all but the latest ``keep`` runs, with their summaries.

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
        summary = summary_path(Path(run.report))
        report = present_report(Path(run.report))
        has_summary = _names(_start_of(summary), run)
        start = _start_of(report)
        # A report without rows names no run; its summary does.
        has_report = _names(start, run) or (start == b"" and has_summary)
        for path in [report] * has_report + [summary] * has_summary:
            with suppress(OSError):
                path.unlink()
                deleted.append(path)
    return deleted


def _start_of(path: Path) -> bytes | None:
    """Return a whole summary, or the first line of a report; None if it cannot be read."""
    try:
        with open_report(path) as file:
            return file.read() if path.suffix == ".json" else file.readline()
    except (OSError, EOFError, zlib.error):
        return None


def _names(content: bytes | None, run: Run) -> bool:
    """Return True if this JSON says that the run wrote it."""
    with suppress(orjson.JSONDecodeError):
        found = orjson.loads(content or b"")
        return isinstance(found, dict) and found.get("run") == run.id
    return False
