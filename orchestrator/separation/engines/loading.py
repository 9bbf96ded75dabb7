"""Loading of engines: the kind of a model file, and the one engine that this process keeps.

What a model file is follows from the shapes of its inputs and outputs. A loaded engine is kept from
one sound to the next.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.demucs import recognise_demucs
from orchestrator.separation.engines.mdx import recognise_mdx
from orchestrator.separation.engines.model_file import read_graph, sidecar_of
from orchestrator.separation.engines.network import Unusable, chosen_by_environment
from orchestrator.separation.engines.plugins import load_plugin
from orchestrator.separation.engines.spleeter import OUTPUT, load_spleeter
from orchestrator.separation.errors import EngineFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.domain.engines import EngineChoice
    from orchestrator.separation.engines.demucs import DemucsModel
    from orchestrator.separation.engines.interface import Engine
    from orchestrator.separation.engines.mdx import MdxModel


def recognise(path: Path) -> MdxModel | DemucsModel:
    """Return what a model file is. Quick: neither its weights nor a runtime are loaded.

    Raises:
        EngineMissing: The file cannot be used; the message says what was found, and the remedy.
    """
    graph = read_graph(path)
    for value in (*graph.inputs, *graph.outputs):
        if value.type != "float32":
            raise EngineMissing(
                f"{path} has inputs or outputs of other numbers than float32 ({graph}); export it "
                "with float32 inputs and outputs."
            )
    if [value.name for value in graph.outputs] == [OUTPUT]:
        raise EngineMissing(
            f"{path} holds the weights of the default engine, which is used where no engine is "
            "named: leave it out."
        )
    model = recognise_mdx(path, graph) or recognise_demucs(path, graph)
    if model is None:
        raise EngineMissing(
            f"{path} is neither an MDX-Net file, [1, 4, bins, frames] in and out, nor a Demucs "
            "file, [1, 2, samples] in and [1, stems, 2, samples] out, or both with a spectrum "
            f"beside them; it has {graph}."
        )
    return model


def load_model(path: Path, threads: int) -> Engine:
    """Load a model file.

    Raises:
        EngineMissing: It is of another kind, or no runtime is installed.
        EngineFailed: The runtime cannot load it.
    """
    model = recognise(path)
    try:
        return model.load(threads)
    except Unusable as error:
        raise EngineFailed(
            f"The engine {path} cannot be loaded: it is damaged, or uses what this runtime lacks "
            f"({str(error).strip().splitlines()[0][:200]})."
        ) from error


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
