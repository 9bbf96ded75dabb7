"""The engine on this machine: the path of its weights, and what real separation lacks here."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from orchestrator.domain.engines import DEFAULT_ENGINE, EngineChoice
from orchestrator.domain.home import with_home
from orchestrator.errors import EngineMissing
from orchestrator.separation.invocation import command, with_extra

if TYPE_CHECKING:
    from pathlib import Path


CACHE_VARIABLE: Final = "ORCHESTRATOR_CACHE_DIR"
"""Environment variable: cache folder to use instead of the platform's."""
ENGINE_FILE: Final = "spleeter-2stems-2.1.0-f1536-2.onnx"
"""Package version, bins, and revision of the converted graph: a change of any gives a new file."""

_HOMELESS: Final = (
    "The folder of the separation engine is not known: HOME is not set, and this user is not in "
    f"the password file. Set HOME, or set {CACHE_VARIABLE} to a folder."
)


def cache_dir(chosen: Path | None = None) -> Path:
    """Return the cache folder.

    It is ``chosen``, or else ``ORCHESTRATOR_CACHE_DIR``, or else the platform's own folder
    (``~/.cache/...`` on Linux).

    Raises:
        EngineMissing: The platform has no such folder for this user.
        ConfigError: The variable begins with ``~``, and there is no home folder.
    """
    from platformdirs import user_cache_path

    if chosen is not None:
        return chosen
    named = os.environ.get(CACHE_VARIABLE)
    if named:
        return with_home(named)
    try:
        folder = user_cache_path("voiceseparate-orchestrator")
    except RuntimeError as error:
        raise EngineMissing(_HOMELESS) from error
    if not folder.is_absolute():  # as older releases of platformdirs return it
        raise EngineMissing(_HOMELESS)
    return folder


def engine_path(chosen: Path | None = None) -> Path:
    """Return the path of the converted weights, installed or not."""
    return cache_dir(chosen) / ENGINE_FILE


def installed_engine(chosen: Path | None = None) -> Path:
    """Return the path of the installed weights.

    Raises:
        EngineMissing: They are not installed; the message names the command that installs them.
    """
    path = engine_path(chosen)
    if not path.is_file():
        raise EngineMissing(
            f"The separation engine's weights are not installed ({path} does not exist); "
            f"run: {command('fetch-engine')}"
        )
    return path


_LIBRARIES = (("numpy",), ("av",), ("openvino", "onnxruntime"))
"""Each group has one library that must be there."""
_WITHOUT_RUNTIME = _LIBRARIES[:2]
"""Libraries that an engine of another package needs, too."""


def model_fault(model: Path) -> str:
    """Return why a model file cannot be used; empty if it can, or if this machine cannot judge it.

    A machine without the libraries may check a manifest for another one.
    """
    if find_spec("numpy") is None:
        return ""
    from orchestrator.separation.engines.loading import recognise

    try:
        recognise(model)
    except EngineMissing as error:
        return str(error)
    return ""


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
