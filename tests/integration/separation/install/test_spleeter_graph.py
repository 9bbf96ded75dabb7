"""The ONNX graph computes the published network, compared with its layers in plain NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest

from orchestrator.separation.engines.spleeter import BINS, INPUT, OUTPUT
from orchestrator.separation.install.spleeter_graph import build_network

if TYPE_CHECKING:
    from orchestrator.separation.install.checkpoint import Tensors
    from tests.integration.separation.conftest import Checkpoints

Array = npt.NDArray[Any]
"""Channels last, as in the published model: ``[frames, bins, channels]``."""


class PlainNumpy:
    """One U-Net by its paper and its published code; independent of the graph builder."""

    def __init__(self, weights: Tensors, net: int) -> None:
        self._weights = weights
        self._net = net

    def estimate(self, magnitude: Array) -> Array:
        """Return the source's magnitude."""
        skips, down = [], magnitude
        for level in range(6):
            skips.append(self._strided(down, "conv2d", 7 * self._net + level))
            normalised = self._normalised(skips[-1], level)
            down = np.where(normalised > 0, normalised, 0.2 * normalised)
        up = skips[5]
        for level in range(6):
            up = self._normalised(
                np.maximum(self._transposed(up, 6 * self._net + level), 0), 6 + level
            )
            if level < 5:
                up = np.concatenate([skips[4 - level], up], axis=2)
        logits = self._dilated(up, 7 * self._net + 6)
        estimate: Array = magnitude / (1 + np.exp(-logits))
        return estimate

    def _tensor(self, layer: str, number: int, part: str) -> Array:
        name = f"{layer}_{number}" if number else layer
        return self._weights[f"{name}/{part}"].astype(np.float64)

    def _strided(self, source: Array, layer: str, number: int) -> Array:
        """Convolve with stride 2; "same" padding adds one row before and two after."""
        kernel = self._tensor(layer, number, "kernel")
        frames, bins, _ = source.shape
        padded = np.pad(source, ((1, 2), (1, 2), (0, 0)))
        out: Array = np.zeros((frames // 2, bins // 2, kernel.shape[3])) + self._tensor(
            layer, number, "bias"
        )
        for row in range(5):
            for column in range(5):
                out += (
                    padded[row : row + frames : 2, column : column + bins : 2] @ kernel[row, column]
                )
        return out

    def _transposed(self, source: Array, number: int) -> Array:
        """Compute the gradient of ``_strided``: spread each value over its inputs."""
        kernel = self._tensor("conv2d_transpose", number, "kernel")
        frames, bins, _ = source.shape
        padded = np.zeros((2 * frames + 3, 2 * bins + 3, kernel.shape[2]))
        for row in range(5):
            for column in range(5):
                padded[row : row + 2 * frames : 2, column : column + 2 * bins : 2] += (
                    source @ kernel[row, column].T
                )
        out: Array = padded[1:-2, 1:-2] + self._tensor("conv2d_transpose", number, "bias")
        return out

    def _dilated(self, source: Array, number: int) -> Array:
        kernel = self._tensor("conv2d", number, "kernel")
        frames, bins, _ = source.shape
        padded = np.pad(source, ((3, 3), (3, 3), (0, 0)))
        out: Array = np.zeros((frames, bins, 2)) + self._tensor("conv2d", number, "bias")
        for row in range(4):
            for column in range(4):
                out += (
                    padded[2 * row : 2 * row + frames, 2 * column : 2 * column + bins]
                    @ kernel[row, column]
                )
        return out

    def _normalised(self, source: Array, number: int) -> Array:
        gamma, beta, mean, variance = (
            self._tensor("batch_normalization", 12 * self._net + number, part)
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        out: Array = (source - mean) / np.sqrt(variance + 1e-3) * gamma + beta
        return out


def _run(model: bytes, magnitude: Array) -> Array:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (mask,) = session.run(
        [OUTPUT], {INPUT: magnitude.transpose(2, 0, 1)[np.newaxis].astype(np.float32)}
    )
    result: Array = mask[0].transpose(1, 2, 0)
    return result


@pytest.mark.slow
def test_the_graph_is_the_published_network(checkpoints: Checkpoints) -> None:
    """With different random weights everywhere, the masks agree only if every layer is right."""
    weights = checkpoints.random((2, 4, 6, 8, 10, 12, 14))
    magnitude = np.abs(np.random.default_rng(1).standard_normal((128, BINS, 2)))
    voice, accompaniment = (PlainNumpy(weights, net).estimate(magnitude) ** 2 for net in range(2))
    expected = (voice + 0.5e-10) / (voice + accompaniment + 1e-10)
    mask = _run(build_network(weights, {}), magnitude)
    assert float(np.std(expected)) > 0.05  # a flat mask would prove nothing
    np.testing.assert_allclose(mask, expected, atol=5e-6)


def test_the_mask_of_silence_is_one_half(checkpoints: Checkpoints) -> None:
    """Silence does not divide by zero."""
    mask = _run(
        build_network(checkpoints.random((2, 1, 1, 1, 1, 1, 1)), {}), np.zeros((64, BINS, 2))
    )
    np.testing.assert_allclose(mask, 0.5)


def test_a_missing_weight_is_an_error(checkpoints: Checkpoints) -> None:
    """An incomplete graph is not built."""
    weights = checkpoints.random((2, 1, 1, 1, 1, 1, 1))
    del weights["batch_normalization_16/moving_mean"]
    with pytest.raises(KeyError, match="batch_normalization_16/moving_mean"):
        build_network(weights, {})


def test_the_file_states_origin_and_licence(checkpoints: Checkpoints) -> None:
    """The notes are the metadata of the model."""
    model = build_network(checkpoints.random((2, 1, 1, 1, 1, 1, 1)), {"licence": "MIT"})
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"licence": "MIT"}
