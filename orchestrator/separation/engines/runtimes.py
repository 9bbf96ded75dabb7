"""The choice of a runtime and its device: the first of those that can load the network."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Final, NamedTuple

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines import onnx_network, openvino_network
from orchestrator.separation.engines.network import Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.separation.engines.network import Device, Network, Wish

log = logging.getLogger(__name__)
RUNTIME_VARIABLE: Final = "ORCHESTRATOR_ENGINE_RUNTIME"
"""Environment variable: ``openvino`` or ``onnxruntime``; by default, the first one installed."""
PRECISION_VARIABLE: Final = "ORCHESTRATOR_ENGINE_PRECISION"
"""Environment variable: ``f32`` computes with 32-bit floats where the processor has shorter ones.

The stems are then the same on every machine, down to rounding.
"""
DEVICE_VARIABLE: Final = "ORCHESTRATOR_ENGINE_DEVICE"
"""Environment variable: ``cpu`` or ``gpu``; by default, a GPU where a runtime offers one."""
_OPENVINO, _ONNXRUNTIME = "openvino", "onnxruntime"
_GPU_BUILD: Final = "onnxruntime-gpu"
"""Package of the build of onnxruntime that has the provider for NVIDIA's GPUs."""


class Candidate(NamedTuple):
    """A runtime with one of its devices."""

    runtime: str
    device: Device


def load_network(model: Path, wish: Wish) -> Network:
    """Load a network on the best device of this machine.

    Args:
        model: An ONNX file.
        wish: How to load it.

    Raises:
        EngineMissing: No runtime is installed, or none has the device that is asked for.
        Unusable: None can load the file.
    """
    if _choice(PRECISION_VARIABLE, "a precision", ("f32",)):
        wish = replace(wish, f32_only=True)
    fault: Exception | None = None
    for candidate in candidates():
        try:
            return _load(candidate, model, wish)
        except ImportError as error:
            if fault is None or isinstance(fault, ModuleNotFoundError):
                fault = error
        except Unusable as error:
            if candidate.device.is_gpu:
                log.warning("%s cannot use the GPU: %s", candidate.runtime, error)
            fault = error
    if isinstance(fault, Unusable):
        raise fault
    if fault is None:
        raise EngineMissing(
            f"{DEVICE_VARIABLE}=gpu, and no runtime offers a GPU here: onnxruntime-gpu needs one "
            f"of NVIDIA's, OpenVINO one of Intel's, each with its driver. Unset {DEVICE_VARIABLE} "
            "to use the processor."
        )
    why = "" if isinstance(fault, ModuleNotFoundError) else f", and cannot load it ({fault})"
    raise EngineMissing(
        f"The separation engine needs openvino or onnxruntime{why}; "
        "run: pip install 'voiceseparate-orchestrator[local]'"
    ) from fault


def candidates() -> Iterator[Candidate]:
    """Yield what to try, best first: GPUs, then OpenVINO before onnxruntime on the processor."""
    named = _choice(RUNTIME_VARIABLE, "a runtime", (_OPENVINO, _ONNXRUNTIME))
    device = _choice(DEVICE_VARIABLE, "a device", ("cpu", "gpu"))
    runtimes = [named] if named else [_OPENVINO, _ONNXRUNTIME]
    if device != "cpu":
        for runtime in reversed(runtimes):
            if _has_gpu(runtime, is_asked_for=device == "gpu"):
                yield Candidate(runtime, _GPUS[runtime])
    if device != "gpu":
        for runtime in runtimes:
            yield Candidate(runtime, _PROCESSORS[runtime])


_PROCESSORS: Final = {
    _OPENVINO: openvino_network.PROCESSOR,
    _ONNXRUNTIME: onnx_network.PROCESSOR,
}
_GPUS: Final = {_OPENVINO: openvino_network.GPU, _ONNXRUNTIME: onnx_network.CUDA}


def _has_gpu(runtime: str, *, is_asked_for: bool) -> bool:
    """Return True if a runtime offers a GPU; the plain onnxruntime is not imported for nothing."""
    try:
        if runtime == _OPENVINO:
            return openvino_network.offers_gpu(openvino_network.import_openvino().Core())
        if not is_asked_for:
            distribution(_GPU_BUILD)
        return onnx_network.offers_cuda(onnx_network.import_onnxruntime())
    except (ImportError, PackageNotFoundError):
        return False


def _load(candidate: Candidate, model: Path, wish: Wish) -> Network:
    if candidate.runtime == _OPENVINO:
        return openvino_network.OpenVinoNetwork(model, wish, candidate.device)
    return onnx_network.OnnxNetwork(model, wish, candidate.device)


def chosen_by_environment() -> tuple[str, ...]:
    """Return what the environment says about runtime, precision and device."""
    names = (RUNTIME_VARIABLE, PRECISION_VARIABLE, DEVICE_VARIABLE)
    return tuple(os.environ.get(name, "") for name in names)


def _choice(variable: str, what: str, names: tuple[str, ...]) -> str:
    """Return the value of an environment variable; empty if it is not set."""
    named = os.environ.get(variable, "")
    if named and named not in names:
        raise EngineMissing(
            f"{variable}={named} is not {what}; set {' or '.join(names)}, or leave it out for the "
            "best one of this machine."
        )
    return named
