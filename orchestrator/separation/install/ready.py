"""Find what this machine lacks for real separation, before the first job is sent."""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.domain.engines import DEFAULT_ENGINE, EngineChoice
from orchestrator.errors import EngineMissing
from orchestrator.separation.install.cache import installed_engine
from orchestrator.separation.invocation import with_extra

_LIBRARIES = (("numpy",), ("av",), ("openvino", "onnxruntime"))
"""Each group has one library that must be there."""
_WITHOUT_RUNTIME = _LIBRARIES[:2]
"""Libraries that an engine of another package needs, too."""


def check_ready(engine: EngineChoice = DEFAULT_ENGINE) -> None:
    """Check that libraries and weights are installed. Quick: no runtime is imported.

    Args:
        engine: The engine; a file is recognised, a plug-in found.

    Raises:
        EngineMissing: If something is missing; the message has the command that installs it.
    """
    libraries = _WITHOUT_RUNTIME if engine.plugin else _LIBRARIES
    missing = [
        " or ".join(group) for group in libraries if not any(find_spec(name) for name in group)
    ]
    if missing:
        raise EngineMissing(
            f"Separation on this machine needs {', '.join(missing)}, which is not installed; "
            f"run: {with_extra()}"
        )
    if engine.is_default:
        installed_engine()
        return
    from orchestrator.separation.engines.loading import recognise
    from orchestrator.separation.engines.plugins import plugin_entry

    if engine.model is not None:
        recognise(engine.model)
    else:
        plugin_entry(engine.plugin)
