"""Small Demucs files of the same shapes as real ones, whose stems are known."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.separation.engines.network import Array

SAMPLES = 16_384
N_FFT, HOP = 4096, 1024
BINS, FRAMES = N_FFT // 2, SAMPLES // HOP
SHARES = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
"""Part of the mixture that is each stem: drums, bass, other, vocals."""
SWAP = np.array([[0, 1], [1, 0]], np.float32)
"""Exchanges the channels."""
BANDS_HZ = (200, 1000, 4000)
"""Borders between four bands."""


def write_shares(
    path: Path,
    shares: Array = SHARES,
    *,
    channels: Array | None = None,
    samples: int | str = SAMPLES,
    batch: int | str = 1,
    notes: dict[str, str] | None = None,
    count: int | str | None = None,
    **sidecar: Any,
) -> Path:
    """Write a whole file, whose stems are shares of the mixture, with its channels mixed.

    Args:
        path: The file.
        shares: The shares.
        channels: Matrix of the channels; by default, they stay as they are.
        samples: Samples of a chunk, or a name to leave them open.
        batch: Chunks at a time, or a name to leave them open.
        notes: Metadata of the file.
        count: Number of stems that the file states; by default, the true one.
        sidecar: Content of its JSON file, which is not written if there is none.
    """
    matrix = np.kron(shares[:, np.newaxis], np.eye(2) if channels is None else channels)
    kernel = matrix.astype(np.float32)[:, :, np.newaxis]
    stated = len(shares) if count is None else count
    nodes = [
        helper.make_node("Conv", ["mix", "kernel"], ["flat"]),
        helper.make_node("Reshape", ["flat", "shape"], ["stems"]),
    ]
    weights = [
        numpy_helper.from_array(kernel, "kernel"),
        numpy_helper.from_array(np.array([0, len(shares), 2, -1]), "shape"),
    ]
    _save(
        path,
        nodes,
        {"mix": [batch, 2, samples]},
        {"stems": [batch, stated, 2, samples]},
        weights,
        notes,
    )
    if sidecar:
        path.with_suffix(".json").write_text(json.dumps(sidecar))
    return path


def write_split(path: Path, *, first: str = "mix", frames: int = FRAMES) -> Path:
    """Write a split file with four bands as its stems, which only its spectra tell apart.

    Its samples say nothing, so that the transform alone carries the sound.

    Args:
        path: The file.
        first: Input, and output, that comes first: ``mix`` or ``spectrum``.
        frames: Frames of the spectrum that the file states.
    """
    edges_hz = (0, *BANDS_HZ, 44_100)
    frequencies_hz = np.arange(BINS) * 44_100 / N_FFT
    bands = [(frequencies_hz >= low) & (frequencies_hz < high) for low, high in pairwise(edges_hz)]
    masks = np.array(bands, np.float32).reshape(1, 4, 1, BINS, 1)
    nodes = [
        helper.make_node("Unsqueeze", ["spectrum", "axis"], ["one_spectrum"]),
        helper.make_node("Mul", ["one_spectrum", "masks"], ["spectra"]),
        helper.make_node("Unsqueeze", ["mix", "axis"], ["one_mix"]),
        helper.make_node("Mul", ["one_mix", "nothing"], ["stems"]),
    ]
    weights = [
        numpy_helper.from_array(np.array([1]), "axis"),
        numpy_helper.from_array(masks, "masks"),
        numpy_helper.from_array(np.zeros((1, 4, 1, 1), np.float32), "nothing"),
    ]
    inputs = {"mix": [1, 2, SAMPLES], "spectrum": [1, 4, BINS, frames]}
    outputs = {"stems": [1, 4, 2, SAMPLES], "spectra": [1, 4, 4, BINS, frames]}
    if first == "spectrum":
        inputs, outputs = (dict(reversed(values.items())) for values in (inputs, outputs))
    _save(path, nodes, inputs, outputs, weights)
    return path


def write_graph(
    path: Path, inputs: dict[str, Any], outputs: dict[str, Any], **options: Any
) -> Path:
    """Write a file with inputs and outputs of any shape, which does nothing useful."""
    given = next(iter(inputs))
    nodes = [helper.make_node("Identity", [given], [name]) for name in outputs]
    _save(path, nodes, inputs, outputs, [], **options)
    return path


def _save(
    path: Path,
    nodes: list[Any],
    inputs: dict[str, Any],
    outputs: dict[str, Any],
    weights: list[Any],
    notes: dict[str, str] | None = None,
    kind: int = TensorProto.FLOAT,
) -> None:
    given, made = (
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in values.items()]
        for values in (inputs, outputs)
    )
    graph = helper.make_graph(nodes, "small", given, made, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, notes or {})
    onnx.save(model, path)
