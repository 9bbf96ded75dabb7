"""The kinds of model files: what a file is follows from the shapes of its inputs and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.demucs import recognise_demucs
from orchestrator.separation.engines.graph import read_graph
from orchestrator.separation.engines.mdx import recognise_mdx
from orchestrator.separation.engines.network import Unusable
from orchestrator.separation.engines.spleeter import OUTPUT
from orchestrator.separation.errors import EngineFailed

if TYPE_CHECKING:
    from pathlib import Path

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
