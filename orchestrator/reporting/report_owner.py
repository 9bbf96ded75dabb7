"""Files of a run that still name it: another run or program may have written the same path."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from orchestrator.reporting.report_file import DAMAGED, open_report, present_report
from orchestrator.reporting.summary import summary_path

if TYPE_CHECKING:
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
