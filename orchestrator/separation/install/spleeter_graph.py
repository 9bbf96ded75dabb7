"""Build the Spleeter 2stems network as an ONNX graph, from the published weights.

Two U-Nets read the magnitude of a spectrum (``[batch, 2 channels, frames, 1536 bins]``, up to
16.5 kHz): one estimates the voice, one the accompaniment. Their squared estimates give the mask of
the voice. The layers and their order are those of Deezer's published model: a skip connection
starts before the normalisation, and is the first input where it is joined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from orchestrator.separation.engines.spleeter import BINS, INPUT, OUTPUT

if TYPE_CHECKING:
    import numpy.typing as npt

    from orchestrator.separation.install.checkpoint import Tensors

_LEVELS: Final = 6
_LEAK: Final = 0.2
_BATCH_NORM_EPSILON: Final = 1e-3  # the default of Keras, which trained the network
_MASK_EPSILON: Final = 1e-10  # of the published formula: the mask of silence is one half
_PHASES: Final = (((0, 3), (1, 1)), ((0, 4), (1, 2), (2, 0)))
"""Places in a 3x3 kernel, and in the 5x5 one, that make the even and the odd results."""
_OPSET: Final = 17
_IR_VERSION: Final = 8  # the oldest with opset 17, so that older runtimes can read it


def build_network(tensors: Tensors, notes: dict[str, str]) -> bytes:
    """Build the network.

    Args:
        tensors: The published weights (``checkpoint.read_bundle``).
        notes: Origin and licence, kept inside the file.

    Returns:
        The ONNX model. Input ``magnitude`` and output ``voice_mask`` have the shape
        ``[batch, 2, frames, 1536]``; frames is a multiple of 64.

    Raises:
        KeyError: A weight is missing.
    """
    from onnx import TensorProto, helper

    graph = _Graph()
    voice = graph.u_net(tensors, net=0)
    accompaniment = graph.u_net(tensors, net=1)
    graph.voice_mask(voice, accompaniment)
    shape: list[str | int | None] = ["batch", 2, "frames", BINS]
    proto = helper.make_graph(
        graph.nodes,
        "spleeter-2stems",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, shape)],
        graph.constants,
    )
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION
    )
    helper.set_model_props(model, notes)
    return bytes(model.SerializeToString())


class _Graph:
    """Nodes and constants of a graph; every method returns the name of the result it added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def u_net(self, tensors: Tensors, net: int) -> str:
        """Add one net: six layers down, six layers up, one estimate."""
        layers = _Layers(tensors, net)
        down = INPUT
        skips = []
        for level in range(_LEVELS):
            skips.append(self.convolution(down, *layers.convolution(level)))
            if level < _LEVELS - 1:
                down = self.node(
                    "LeakyRelu", [self.normalisation(skips[level], layers, level)], alpha=_LEAK
                )
        up = skips.pop()
        for level in range(_LEVELS):
            grow = self.transposed if level < _LEVELS - 1 else self.transposed_by_phases
            up = self.node("Relu", [grow(up, *layers.transposed(level))])
            up = self.normalisation(up, layers, _LEVELS + level)
            if skips:
                up = self.node("Concat", [skips.pop(), up], axis=1)
        return self.estimate(up, *layers.convolution(_LEVELS))

    def convolution(
        self, source: str, kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
    ) -> str:
        """Add a 5x5 convolution, stride 2; ``SAME_UPPER`` pads as TensorFlow's "same" does."""
        weights = self.constant(kernel.transpose(3, 2, 0, 1))
        return self.node(
            "Conv", [source, weights, self.constant(bias)], strides=[2, 2], auto_pad="SAME_UPPER"
        )

    def transposed(
        self, source: str, kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
    ) -> str:
        """Add a 5x5 transposed convolution, stride 2, which doubles the size.

        It is cropped like the gradient of the "same" convolution: one before, two after.
        """
        weights = self.constant(kernel.transpose(3, 2, 0, 1))
        return self.node(
            "ConvTranspose",
            [source, weights, self.constant(bias)],
            strides=[2, 2],
            pads=[1, 1, 2, 2],
        )

    def transposed_by_phases(
        self, source: str, kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
    ) -> str:
        """Add the same as ``transposed``, as a plain convolution whose results are interleaved.

        Each of the four results around an input has its own part of the kernel, 3x3 at most. For
        the last layer, which has one channel, runtimes compute that in half the time: the whole
        network takes an eighth less.
        """
        whole = kernel.transpose(2, 3, 0, 1)  # [out, in, height, width]
        parts = np.zeros((whole.shape[0], 2, 2, whole.shape[1], 3, 3), np.float32)
        for row, rows in enumerate(_PHASES):
            for column, columns in enumerate(_PHASES):
                for above, height in rows:
                    for left, width in columns:
                        parts[:, row, column, :, above, left] = whole[:, :, height, width]
        weights = self.constant(parts.reshape(-1, *parts.shape[3:]))
        phases = self.node(
            "Conv", [source, weights, self.constant(np.repeat(bias, 4))], pads=[1, 1, 1, 1]
        )
        return self.node("DepthToSpace", [phases], blocksize=2, mode="CRD")

    def normalisation(self, source: str, layers: _Layers, number: int) -> str:
        """Add a batch normalisation with the statistics of the training."""
        parameters = [self.constant(values) for values in layers.normalisation(number)]
        return self.node("BatchNormalization", [source, *parameters], epsilon=_BATCH_NORM_EPSILON)

    def estimate(
        self, source: str, kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
    ) -> str:
        """Add the estimated magnitude: 4x4, dilated by 2, sigmoid, times the input."""
        weights = self.constant(kernel.transpose(3, 2, 0, 1))
        logits = self.node(
            "Conv", [source, weights, self.constant(bias)], dilations=[2, 2], pads=[3, 3, 3, 3]
        )
        return self.node("Mul", [self.node("Sigmoid", [logits]), INPUT])

    def voice_mask(self, voice: str, accompaniment: str) -> None:
        """Add the output, ``(v^2 + e/2) / (v^2 + a^2 + e)``."""
        voice_power = self.node("Mul", [voice, voice])
        power = self.node("Add", [voice_power, self.node("Mul", [accompaniment, accompaniment])])
        above = self.node(
            "Add", [voice_power, self.constant(np.float32(_MASK_EPSILON / 2).reshape(1))]
        )
        below = self.node("Add", [power, self.constant(np.float32(_MASK_EPSILON).reshape(1))])
        self.node("Div", [above, below], output=OUTPUT)

    def node(self, kind: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        """Add one operation."""
        from onnx import helper

        name = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def constant(self, values: npt.NDArray[np.float32]) -> str:
        """Add one tensor of weights."""
        from onnx import numpy_helper

        name = f"weight_{len(self.constants)}"
        self.constants.append(
            numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)
        )
        return name


class _Layers:
    """The weights of one net, by layer; the checkpoint numbers the layers of both nets in a row."""

    def __init__(self, tensors: Tensors, net: int) -> None:
        self._tensors = tensors
        self._net = net

    def convolution(self, level: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Kernel ``[height, width, in, out]`` and bias; level 6 is the last, dilated one."""
        return self._kernel("conv2d", (_LEVELS + 1) * self._net + level)

    def transposed(self, level: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Kernel ``[height, width, out, in]`` and bias."""
        return self._kernel("conv2d_transpose", _LEVELS * self._net + level)

    def normalisation(self, number: int) -> list[npt.NDArray[np.float32]]:
        """Scale, offset, mean and variance; 0-5 on the way down, 6-11 on the way up."""
        layer = _numbered("batch_normalization", 2 * _LEVELS * self._net + number)
        return [
            self._tensors[f"{layer}/{part}"]
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        ]

    def _kernel(
        self, layer: str, number: int
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        name = _numbered(layer, number)
        return self._tensors[f"{name}/kernel"], self._tensors[f"{name}/bias"]


def _numbered(layer: str, number: int) -> str:
    """Return a layer's name in the checkpoint; the first one has no number."""
    return f"{layer}_{number}" if number else layer
