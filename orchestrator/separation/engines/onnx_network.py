"""Networks in onnxruntime, on the processor or on a GPU of NVIDIA's."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from orchestrator.separation.engines.network import Device, Unusable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from orchestrator.separation.engines.network import Array, Compute, Wish

PROCESSOR: Final = Device("CPUExecutionProvider")
CUDA: Final = Device("CUDAExecutionProvider", batch=4, is_gpu=True)


def import_onnxruntime() -> Any:
    """Import onnxruntime without its usage statistics.

    Since version 1.29 the official builds for Linux send them, from the import on, unless
    this variable is set before (release notes of onnxruntime 1.29).
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


def offers_cuda(onnxruntime: Any) -> bool:
    """Return True if this build of onnxruntime can use a GPU of NVIDIA's.

    It says nothing about the machine: without such a GPU, loading a network on it fails.
    """
    return CUDA.name in onnxruntime.get_available_providers()


class OnnxNetwork:
    """A network with its session."""

    def __init__(self, model: Path, wish: Wish, device: Device = PROCESSOR) -> None:
        """Load the network.

        Raises:
            ImportError: onnxruntime is not installed.
            Unusable: It cannot load the file, or not on this device.
        """
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = wish.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal only: errors are raised as exceptions
        # Threads that spin while they wait take the core from the other worker.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.batch = device.batch_of(wish)
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[device.name])
        except Exception as error:  # onnxruntime's errors have no public root class
            raise Unusable(str(error)) from error
        if device.name not in self._session.get_providers():
            # It falls back to the processor by itself, where its settings are not ours.
            raise Unusable(f"onnxruntime has no {device.name} on this machine")
        self._inputs = [given.name for given in self._session.get_inputs()]
        where = f", {device.name}" if device.is_gpu else ""
        version = onnxruntime.__version__
        self.runtime = f"onnxruntime {version}{where}, f32, threads: {wish.threads}"

    def stream(self) -> Compute:
        """Return a function that computes one batch after another (see ``network.Network``)."""

        def compute(values: Sequence[Array]) -> list[Array]:
            given = dict(zip(self._inputs, values, strict=True))
            return [np.asarray(result) for result in self._session.run(None, given)]

        return compute
