"""Small MDX-Net files of the same shapes as real ones, whose voice is known."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

N_FFT, BINS, FRAMES = 3072, 1537, 32
"""All bins, so that an identity keeps the whole sound."""
CHUNK = 1024 * (FRAMES - 1)
IDENTITY = np.eye(4)
TURNED = np.kron(np.eye(2), [[0, -1], [1, 0]])
"""Multiplies each bin by the imaginary unit: cosines become negative sines."""
LEFT_ONLY = np.diag([1, 1, 0, 0])


def write_model(
    folder: Path,
    mix: Any = IDENTITY,
    *,
    bins: int = BINS,
    frames: int | str = FRAMES,
    parts: int = 4,
    **settings: Any,
) -> Path:
    """Write a network that mixes the four parts of each bin, and its JSON file."""
    path = folder / "small.onnx"
    kernel = np.asarray(mix, np.float32)[:parts, :parts].reshape(parts, parts, 1, 1)
    shape: list[str | int | None] = ["batch", parts, bins, frames]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["input", "mix"], ["output"])],
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.ascontiguousarray(kernel), "mix")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    path.with_suffix(".json").write_text(json.dumps({"mdx_n_fft_scale_set": N_FFT, **settings}))
    return path
