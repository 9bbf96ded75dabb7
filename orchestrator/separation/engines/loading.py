"""The loaded engine of this process, kept from one file to the next."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.mdx import load_mdx
from orchestrator.separation.engines.spleeter import load_spleeter

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.separation.engines.interface import VoiceEngine

_Key: TypeAlias = "tuple[Path, int, int, int]"
_LOCK: Final = threading.Lock()
_LOADED: Final[dict[_Key, VoiceEngine]] = {}


def load_engine(path: Path, threads: int, *, is_default: bool = True) -> VoiceEngine:
    """Load an engine, or return it if it was the last one and its file has not changed.

    Args:
        path: The file of its weights.
        threads: Threads of the network.
        is_default: It is the default engine; else an MDX-Net file.

    Raises:
        EngineMissing: The file or every runtime is missing, or the file cannot be used.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise EngineMissing(f"The engine {path} cannot be read: {error.strerror}.") from error
    key = (path, status.st_size, status.st_mtime_ns, threads)
    with _LOCK:
        if key not in _LOADED:
            _LOADED.clear()  # first: the memory of two engines would be needed
            load = load_spleeter if is_default else load_mdx
            _LOADED[key] = load(path, threads)
        return _LOADED[key]
