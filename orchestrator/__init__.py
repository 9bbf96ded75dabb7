"""Bulk voice / background separation from one YAML manifest.

The command is ``orchestrator``; a program calls :func:`run_manifest`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator._version import __version__

if TYPE_CHECKING:
    from orchestrator.commands.options import RunOptions
    from orchestrator.commands.run import run_manifest

__all__ = ["RunOptions", "__version__", "run_manifest"]


def __getattr__(name: str) -> object:
    """Import on first use, so that ``--help`` stays quick."""
    if name == "RunOptions":
        from orchestrator.commands.options import RunOptions

        return RunOptions
    if name == "run_manifest":
        from orchestrator.commands.run import run_manifest

        return run_manifest
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
