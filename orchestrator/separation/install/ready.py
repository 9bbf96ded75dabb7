"""Find what this machine lacks for real separation, before the first job is sent."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.mdx_settings import read_settings
from orchestrator.separation.install.cache import installed_engine
from orchestrator.separation.invocation import with_extra

if TYPE_CHECKING:
    from pathlib import Path

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
            f"run: {with_extra()}"
        )
    if model is None:
        installed_engine()
    else:
        read_settings(model)
