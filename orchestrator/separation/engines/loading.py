"""The loaded engine of this process, kept from one file to the next."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.mdx import load_mdx
from orchestrator.separation.engines.spleeter import load_spleeter
from orchestrator.separation.install.cache import installed_engine

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.separation.engines.interface import VoiceEngine

_Key: TypeAlias = "tuple[Path, int, int, int]"
_LOCK: Final = threading.Lock()
_LOADED: Final[dict[_Key, VoiceEngine]] = {}


def load_engine(model: Path | None, threads: int) -> VoiceEngine:
    """Load an engine, or return it if it was the last one and its file has not changed.

    Args:
        model: An MDX-Net file; None: the default engine.
        threads: Threads of the network.

    Raises:
        EngineMissing: The file or every runtime is missing, or the file cannot be used.
    """
    path = installed_engine() if model is None else model
    try:
        status = path.stat()
    except OSError as error:
        raise EngineMissing(f"The engine {path} cannot be read: {error.strerror}.") from error
    key = (path, status.st_size, status.st_mtime_ns, threads)
    with _LOCK:
        if key not in _LOADED:
            _LOADED.clear()  # first: the memory of two engines would be needed
            load = load_spleeter if model is None else load_mdx
            _LOADED[key] = load(path, threads)
        return _LOADED[key]
