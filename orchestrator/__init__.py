"""Bulk voice / background separation from one YAML manifest.

The command is ``orchestrator``. A program calls :func:`run` and :func:`plan`, or their twins
:func:`run_async` and :func:`plan_async`, reads the rows of a run with :func:`rows`, and follows its
events with :func:`start`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from orchestrator._version import __version__

if TYPE_CHECKING:
    from orchestrator.commands.api import (
        Running,
        plan,
        plan_async,
        rows,
        rows_async,
        run,
        run_async,
        start,
    )
    from orchestrator.commands.options import RunOptions
    from orchestrator.commands.run import run_manifest
    from orchestrator.manifest.schema.manifest_file import ManifestFile
    from orchestrator.reporting.row import Row

__all__ = [
    "ManifestFile",
    "Row",
    "RunOptions",
    "Running",
    "__version__",
    "plan",
    "plan_async",
    "rows",
    "rows_async",
    "run",
    "run_async",
    "run_manifest",
    "start",
]

_ELSEWHERE = {
    "ManifestFile": "orchestrator.manifest.schema.manifest_file",
    "Row": "orchestrator.reporting.row",
    "RunOptions": "orchestrator.commands.options",
    "run_manifest": "orchestrator.commands.run",
}


def __getattr__(name: str) -> object:
    """Import on first use, so that ``--help`` stays quick."""
    if name not in __all__:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(_ELSEWHERE.get(name, "orchestrator.commands.api")), name)
