"""Networks in OpenVINO, on the processor."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.separation.engines.network import Unusable, fixed_shape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.separation.engines.network import Array, Shape


class OpenVinoNetwork:
    """A network compiled for one shape: for a free one, it takes a third longer.

    OpenVINO's own cache of compiled networks is not used. Reading it takes as long as compiling
    (0.25 s), and a file that can be damaged costs more than it saves.
    """

    def __init__(self, model: Path, shape: Shape, threads: int, *, f32_only: bool = False) -> None:
        """Compile the network.

        Raises:
            ImportError: OpenVINO is not installed.
            Unusable: It cannot load the file.
        """
        openvino = import_openvino()
        core = openvino.Core()
        properties = openvino.properties
        precision = openvino.Type.f32
        if not f32_only and has_fast_bf16(core, openvino):
            precision = openvino.Type.bf16
        try:
            # By its format's own reader: the general one tries others, which complain.
            reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")
            network = reader.convert(reader.load(str(model)))
            sizes = network.inputs[0].partial_shape
            stated = [size.get_length() if size.is_static else None for size in sizes]
            self.shape = fixed_shape(shape, stated)
            network.reshape(list(self.shape))
            self._compiled = core.compile_model(
                network,
                "CPU",
                {
                    properties.hint.inference_precision: precision,
                    properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
                    properties.inference_num_threads: threads,
                    # Two workers of one thread would be bound to the same core.
                    properties.hint.enable_cpu_pinning: False,
                },
            )
        except Unusable:
            raise
        except Exception as error:  # OpenVINO's errors have no public root class
            raise Unusable(str(error)) from error
        version = openvino.get_version().split("-")[0]
        self.runtime = f"OpenVINO {version}, {precision.to_string()}, threads: {threads}"

    def stream(self) -> Callable[[Array], Array]:
        """Return a function that computes one array after another (see ``network.Network``)."""
        request = self._compiled.create_infer_request()

        def compute(values: Array) -> Array:
            request.infer({0: values}, share_inputs=True)
            return np.array(request.get_output_tensor(0).data)

        return compute


def import_openvino() -> Any:
    """Import OpenVINO without its client for usage statistics.

    Only OpenVINO's model converter would send any, and nothing here uses it. A module that cannot
    be imported makes sure of that.
    """
    blocked: dict[str, Any] = sys.modules
    blocked.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def has_fast_bf16(core: Any, openvino: Any) -> bool:
    """Return True if the processor computes with bfloat16 itself (AVX-512 BF16 or AMX).

    OpenVINO chooses it there by default. Where it would be emulated, it is slower than f32, and
    the shorter range of f16, the default of other processors, is too short for this network.
    """
    properties = openvino.properties
    default = core.get_property("CPU", properties.hint.inference_precision)
    capabilities = core.get_property("CPU", properties.device.capabilities)
    return default == openvino.Type.bf16 and "BF16" in capabilities
