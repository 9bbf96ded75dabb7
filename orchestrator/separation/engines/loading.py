"""The loaded engine of this process, kept from one file to the next."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.kinds import load_model
from orchestrator.separation.engines.network import chosen_by_environment
from orchestrator.separation.engines.plugins import load_plugin
from orchestrator.separation.engines.sidecar import sidecar_of
from orchestrator.separation.engines.spleeter import load_spleeter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.domain.engines import EngineChoice
    from orchestrator.separation.engines.interface import Engine

_Key: TypeAlias = "tuple[object, ...]"
_LOCK: Final = threading.Lock()
_LOADED: Final[dict[_Key, Engine]] = {}


def load_engine(choice: EngineChoice, threads: int, default: Callable[[], Path]) -> Engine:
    """Load an engine, or return it if it was the last one and its files have not changed.

    Args:
        choice: The engine.
        threads: Threads of the network.
        default: Returns the weights of the default engine.

    Raises:
        EngineMissing: The file or every runtime is missing, or the engine cannot be used.
    """
    path = None if choice.plugin else choice.model or default()
    key = (choice, threads, chosen_by_environment(), path and _state(path))
    with _LOCK:
        if key not in _LOADED:
            _LOADED.clear()  # first: the memory of two engines would be needed
            if path is None:
                _LOADED[key] = load_plugin(choice.plugin, threads)
            else:
                load = load_model if choice.model else load_spleeter
                _LOADED[key] = load(path, threads)
        return _LOADED[key]


def _state(path: Path) -> tuple[object, ...]:
    """Return what changes when a file, or the JSON file beside it, is written again."""
    try:
        status = path.stat()
    except OSError as error:
        raise EngineMissing(f"The engine {path} cannot be read: {error.strerror}.") from error
    try:
        beside = sidecar_of(path).stat()
    except OSError:
        return status.st_size, status.st_mtime_ns
    return status.st_size, status.st_mtime_ns, beside.st_size, beside.st_mtime_ns
