"""Networks in OpenVINO, on the processor or on a GPU of Intel's."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from orchestrator.separation.engines.network import Device, Unusable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.separation.engines.network import Array, Compute, Wish

PROCESSOR: Final = Device("CPU")
GPU: Final = Device("GPU", batch=4, is_gpu=True)


class OpenVinoNetwork:
    """A network compiled for one shape: for a free one, it takes a third longer.

    OpenVINO's own cache of compiled networks is not used. It saves a tenth of a second, takes as
    much disk as the model, and may be damaged.
    """

    def __init__(self, model: Path, wish: Wish, device: Device = PROCESSOR) -> None:
        """Compile the network.

        Raises:
            ImportError: OpenVINO is not installed.
            Unusable: It cannot load the file.
        """
        openvino = import_openvino()
        core = openvino.Core()
        precision = openvino.Type.f32
        if not (wish.f32_only or device.is_gpu) and has_fast_bf16(core, openvino):
            precision = openvino.Type.bf16
        self.batch = device.batch_of(wish)
        try:
            # By its format's own reader: the general one tries others, which complain.
            reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")
            network = reader.convert(reader.load(str(model)))
            shapes = {
                number: openvino.PartialShape([self.batch, *shape])
                for number, shape in enumerate(wish.shapes)
            }
            network.reshape(shapes)
            self._compiled = core.compile_model(
                network, device.name, _settings(openvino, precision, wish.threads, device)
            )
        except Exception as error:  # OpenVINO's errors have no public root class
            raise Unusable(str(error)) from error
        version = openvino.get_version().split("-")[0]
        where = f", {device.name}" if device.is_gpu else ""
        name = precision.to_string()
        self.runtime = f"OpenVINO {version}{where}, {name}, threads: {wish.threads}"

    def stream(self) -> Compute:
        """Return a function that computes one batch after another (see ``network.Network``)."""
        request = self._compiled.create_infer_request()
        outputs = range(len(self._compiled.outputs))

        def compute(values: Sequence[Array]) -> list[Array]:
            request.infer(dict(enumerate(values)), share_inputs=True)
            return [np.array(request.get_output_tensor(number).data) for number in outputs]

        return compute


def _settings(openvino: Any, precision: Any, threads: int, device: Device) -> dict[Any, Any]:
    properties = openvino.properties
    settings = {
        # The shorter floats that a GPU prefers have too short a range for these networks.
        properties.hint.inference_precision: precision,
        properties.hint.performance_mode: properties.hint.PerformanceMode.LATENCY,
    }
    if not device.is_gpu:
        settings |= {
            properties.inference_num_threads: threads,
            # Two workers of one thread would be bound to the same core.
            properties.hint.enable_cpu_pinning: False,
        }
    return settings


def import_openvino() -> Any:
    """Import OpenVINO without its client for usage statistics.

    Only OpenVINO's model converter would send any, and nothing here uses it. A module that cannot
    be imported makes sure of that.
    """
    blocked: dict[str, Any] = sys.modules
    blocked.setdefault("openvino_telemetry", None)
    import openvino

    return openvino


def offers_gpu(core: Any) -> bool:
    """Return True if OpenVINO sees a GPU, by the name of its devices: ``GPU``, or ``GPU.0``."""
    return any(name.split(".")[0] == GPU.name for name in core.available_devices)


def has_fast_bf16(core: Any, openvino: Any) -> bool:
    """Return True if the processor computes with bfloat16 itself (AVX-512 BF16 or AMX).

    OpenVINO chooses it there by default. Where it would be emulated, it is slower than f32, and
    the shorter range of f16, the default of other processors, is too short for this network.
    """
    properties = openvino.properties
    default = core.get_property("CPU", properties.hint.inference_precision)
    capabilities = core.get_property("CPU", properties.device.capabilities)
    return default == openvino.Type.bf16 and "BF16" in capabilities
