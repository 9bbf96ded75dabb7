"""Where the engine's weights lie on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from orchestrator.errors import EngineMissing

CACHE_VARIABLE: Final = "ORCHESTRATOR_CACHE_DIR"
"""Environment variable that names another cache folder than the platform's."""
_APPLICATION: Final = "voiceseparate-orchestrator"
ENGINE_FILE: Final = "spleeter-2stems-2.1.0-f1536-1.onnx"
"""Package version, bins, and revision of the converted graph: a change of any gives a new file."""


def cache_dir(chosen: Path | None = None) -> Path:
    """The cache folder: the argument, else ``ORCHESTRATOR_CACHE_DIR``, else the platform's own (``~/.cache/...`` on Linux)."""
    from platformdirs import user_cache_path

    if chosen is not None:
        return chosen
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else user_cache_path(_APPLICATION)


def engine_path(chosen: Path | None = None) -> Path:
    """Where the converted weights lie, or would lie."""
    return cache_dir(chosen) / ENGINE_FILE


def installed_engine(chosen: Path | None = None) -> Path:
    """Where the converted weights lie.

    Raises:
        EngineMissing: They are not there; the message names the command that fetches them.
    """
    path = engine_path(chosen)
    if not path.is_file():
        message = f"The separation engine's weights are not installed ({path} does not exist); run: orchestrator fetch-engine"
        raise EngineMissing(message)
    return path
