"""Networks that are loaded and ready to compute, and the choice between OpenVINO and onnxruntime.

OpenVINO computes on the processor or on a GPU of Intel's, onnxruntime on the processor or on a GPU
of NVIDIA's. The first device that can load a network is taken, GPUs before the processor.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.errors import EngineMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


Array: TypeAlias = npt.NDArray[np.float32]
Compute: TypeAlias = "Callable[[Sequence[Array]], list[Array]]"
"""Computes all outputs of all inputs; each array begins with the axis of the batch."""


class Network(Protocol):
    """A loaded network with inputs of a fixed shape.

    Attributes:
        batch: Blocks that it computes at a time: the first size of every input and output.
        runtime: Runtime, version, device, precision and threads, for people.
    """

    batch: int
    runtime: str

    def stream(self) -> Compute:
        """Return a function that computes one batch after another.

        Several streams may work at once, each in its own thread. A result stays valid; the
        function keeps no reference to its arguments.
        """
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """The way to load a network.

    Attributes:
        shapes: Shape of each input, in the file's order, without its first size, the batch.
        threads: Threads that work on one batch.
        f32_only: Compute with 32-bit floats, whatever the processor has.
        is_batch_free: The network works on any number of blocks at a time.
    """

    shapes: tuple[tuple[int, ...], ...]
    threads: int
    f32_only: bool = False
    is_batch_free: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device that a runtime offers.

    Attributes:
        name: Its name in the runtime.
        batch: Blocks that it is given at a time, if the network can take more than one.
        is_gpu: It is not the processor.
    """

    name: str
    batch: int = 1
    is_gpu: bool = False

    def batch_of(self, wish: Wish) -> int:
        """Return the blocks at a time of one network."""
        return self.batch if wish.is_batch_free else 1


class Unusable(Exception):
    """A runtime cannot load the file."""


_OPENVINO_CPU: Final = Device("CPU")
_OPENVINO_GPU: Final = Device("GPU", batch=4, is_gpu=True)


class OpenVinoNetwork:
    """A network compiled for one shape: for a free one, it takes a third longer.

    OpenVINO's own cache of compiled networks is not used. It saves a tenth of a second, takes as
    much disk as the model, and may be damaged.
    """

    def __init__(self, model: Path, wish: Wish, device: Device = _OPENVINO_CPU) -> None:
        """Compile the network.

        Raises:
            ImportError: OpenVINO is not installed.
            Unusable: It cannot load the file.
        """
        openvino = _import_openvino()
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
        """Return a function that computes one batch after another (see ``Network``)."""
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


def _import_openvino() -> Any:
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


_ONNX_CPU: Final = Device("CPUExecutionProvider")
_ONNX_CUDA: Final = Device("CUDAExecutionProvider", batch=4, is_gpu=True)


def _import_onnxruntime() -> Any:
    """Import onnxruntime without its usage statistics.

    Since version 1.29 the official builds for Linux send them, from the import on, unless
    this variable is set before (release notes of onnxruntime 1.29).
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


class OnnxNetwork:
    """A network with its session."""

    def __init__(self, model: Path, wish: Wish, device: Device = _ONNX_CPU) -> None:
        """Load the network.

        Raises:
            ImportError: onnxruntime is not installed.
            Unusable: It cannot load the file, or not on this device.
        """
        onnxruntime = _import_onnxruntime()
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
        """Return a function that computes one batch after another (see ``Network``)."""

        def compute(values: Sequence[Array]) -> list[Array]:
            given = dict(zip(self._inputs, values, strict=True))
            return [np.asarray(result) for result in self._session.run(None, given)]

        return compute


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
    _OPENVINO: _OPENVINO_CPU,
    _ONNXRUNTIME: _ONNX_CPU,
}
_GPUS: Final = {_OPENVINO: _OPENVINO_GPU, _ONNXRUNTIME: _ONNX_CUDA}


def _has_gpu(runtime: str, *, is_asked_for: bool) -> bool:
    """Return True if a runtime offers a GPU; the plain onnxruntime is not imported for nothing.

    That of onnxruntime says nothing about the machine: without a GPU, loading a network fails.
    """
    try:
        if runtime == _OPENVINO:
            devices = _import_openvino().Core().available_devices  # ``GPU``, or ``GPU.0``
            return any(name.split(".")[0] == _OPENVINO_GPU.name for name in devices)
        if not is_asked_for:
            distribution(_GPU_BUILD)
        return _ONNX_CUDA.name in _import_onnxruntime().get_available_providers()
    except (ImportError, PackageNotFoundError):
        return False


def _load(candidate: Candidate, model: Path, wish: Wish) -> Network:
    if candidate.runtime == _OPENVINO:
        return OpenVinoNetwork(model, wish, candidate.device)
    return OnnxNetwork(model, wish, candidate.device)


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
