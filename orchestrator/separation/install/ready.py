"""Find what this machine lacks for real separation, before the first job is sent."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.mdx_settings import read_settings
from orchestrator.separation.install.cache import installed_engine

_LIBRARIES = (("numpy",), ("av",), ("openvino", "onnxruntime"))
"""Each group has one library that must be there."""


def check_ready(model: Path | None = None) -> None:
    """Check that libraries and weights are installed. Quick: the libraries are not imported.

    Args:
        model: An engine that takes the place of the default one; its settings are checked.

    Raises:
        EngineMissing: If something is missing; the message has the command that installs it.
    """
    missing = [
        " or ".join(group) for group in _LIBRARIES if not any(find_spec(name) for name in group)
    ]
    if missing:
        raise EngineMissing(
            f"Separation on this machine needs {', '.join(missing)}, which is not installed; "
            f"run: {_installer()} 'voiceseparate-orchestrator[local]'"
        )
    if model is None:
        installed_engine()
    else:
        read_settings(model)


def _installer() -> str:
    """Return the command that installs into this environment, by the tool that made it."""
    parts = Path(sys.prefix).parts
    if "uv" in parts and "tools" in parts:
        return "uv tool install --force"
    if "pipx" in parts and "venvs" in parts:
        return "pipx install --force"
    return "pip install"
