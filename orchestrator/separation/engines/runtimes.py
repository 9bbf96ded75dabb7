"""The choice of a runtime: OpenVINO where it is installed, or else onnxruntime."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, TypeAlias

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.network import Unusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.separation.engines.network import Network, Shape

RUNTIME_VARIABLE: Final = "ORCHESTRATOR_ENGINE_RUNTIME"
"""Environment variable: ``openvino`` or ``onnxruntime``; by default, the first one installed."""
PRECISION_VARIABLE: Final = "ORCHESTRATOR_ENGINE_PRECISION"
"""Environment variable: ``f32`` computes with 32-bit floats where the processor has shorter ones.

The stems are then the same on every machine, down to rounding.
"""


def load_network(model: Path, shape: Shape, threads: int, *, f32_only: bool = False) -> Network:
    """Load a network in the best runtime of this machine.

    Args:
        model: An ONNX file.
        shape: Shape of the input.
        threads: Threads that work on one array.
        f32_only: Compute with 32-bit floats, whatever the processor has.

    Raises:
        EngineMissing: No runtime is installed.
        Unusable: None can load the file.
    """
    fault: Exception | None = None
    for load in _wanted_runtimes():
        try:
            return load(model, shape, threads, f32_only)
        except ImportError as error:
            fault = fault or error
        except Unusable as error:
            fault = error
    if isinstance(fault, Unusable):
        raise fault
    raise EngineMissing(
        "The separation engine needs openvino or onnxruntime; "
        "run: pip install 'voiceseparate-orchestrator[local]'"
    ) from fault


def _openvino(model: Path, shape: Shape, threads: int, is_f32_only: bool) -> Network:
    from orchestrator.separation.engines.openvino_network import OpenVinoNetwork

    return OpenVinoNetwork(model, shape, threads, f32_only=_is_f32_wanted() or is_f32_only)


def _onnxruntime(model: Path, shape: Shape, threads: int, _is_f32_only: bool) -> Network:
    from orchestrator.separation.engines.onnx_network import OnnxNetwork

    return OnnxNetwork(model, shape, threads)


_Load: TypeAlias = "Callable[[Path, Shape, int, bool], Network]"
_RUNTIMES: Final[dict[str, _Load]] = {"openvino": _openvino, "onnxruntime": _onnxruntime}


def _wanted_runtimes() -> list[_Load]:
    named = os.environ.get(RUNTIME_VARIABLE, "")
    if not named:
        return list(_RUNTIMES.values())
    if named not in _RUNTIMES:
        names = " or ".join(_RUNTIMES)
        raise EngineMissing(f"{RUNTIME_VARIABLE}={named} is not a runtime; set {names}.")
    return [_RUNTIMES[named]]


def _is_f32_wanted() -> bool:
    named = os.environ.get(PRECISION_VARIABLE, "")
    if named not in {"", "f32"}:
        raise EngineMissing(
            f"{PRECISION_VARIABLE}={named} is not a precision; set f32, or leave it out for the "
            "fastest one of this processor."
        )
    return bool(named)
