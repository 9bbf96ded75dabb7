"""Networks in onnxruntime, on the processor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.separation.engines.network import Unusable, fixed_shape

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.separation.engines.network import Array, Shape


def import_onnxruntime() -> Any:
    """Import onnxruntime without its usage statistics.

    Since version 1.29 the official builds for Linux send them, from the import on, unless
    this variable is set before (release notes of onnxruntime 1.29).
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


class OnnxNetwork:
    """A network with its session."""

    def __init__(self, model: Path, shape: Shape, threads: int) -> None:
        """Load the network.

        Raises:
            ImportError: onnxruntime is not installed.
            Unusable: It cannot load the file.
        """
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal only: errors are raised as exceptions
        # Threads that spin while they wait take the core from the other worker.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors have no public root class
            raise Unusable(str(error)) from error
        given = self._session.get_inputs()[0]
        self._input = given.name
        self.shape = fixed_shape(shape, given.shape)
        self._output = self._session.get_outputs()[0].name
        self.runtime = f"onnxruntime {onnxruntime.__version__}, f32, threads: {threads}"

    def stream(self) -> Callable[[Array], Array]:
        """Return a function that computes one array after another (see ``network.Network``)."""

        def compute(values: Array) -> Array:
            (result,) = self._session.run([self._output], {self._input: values})
            return np.asarray(result)

        return compute
