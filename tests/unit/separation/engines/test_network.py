"""A runtime is chosen by what is installed; the processor decides the precision."""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines import network
from orchestrator.separation.engines.network import (
    DEVICE_VARIABLE,
    PRECISION_VARIABLE,
    RUNTIME_VARIABLE,
    Unusable,
    Wish,
    candidates,
    has_fast_bf16,
    load_network,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.separation.engines.network import Candidate

MODEL = Path("absent.onnx")
WISH = Wish(((2, 64, 64),), 1)


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)
    monkeypatch.delenv(PRECISION_VARIABLE, raising=False)
    monkeypatch.delenv(DEVICE_VARIABLE, raising=False)


def test_without_any_runtime_the_message_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineMissing, match=r"openvino or onnxruntime; run: pip install .*\[local"):
        load_network(MODEL, WISH)


def test_a_runtime_that_cannot_be_loaded_is_no_missing_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('libsound.so: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    with pytest.raises(EngineMissing, match=r"cannot load it \(libsound.so: cannot open\); run"):
        load_network(MODEL, WISH)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (RUNTIME_VARIABLE, "tensorflow", "=tensorflow is not a runtime; set openvino or onnxrun"),
        (PRECISION_VARIABLE, "f16", "=f16 is not a precision; set f32"),
        (DEVICE_VARIABLE, "cuda", "=cuda is not a device; set cpu or gpu"),
    ],
)
def test_an_unknown_choice_is_refused_with_those_that_exist(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(EngineMissing, match=f"{variable}{words}"):
        load_network(MODEL, WISH)


class FakeOpenVino:
    """OpenVINO with some devices."""

    def __init__(self, *devices: str) -> None:
        self.available_devices = list(devices)

    def Core(self) -> FakeOpenVino:  # noqa: N802 - its name there
        """Return what lists the devices."""
        return self


class FakeOnnxruntime:
    """onnxruntime with some providers."""

    def __init__(self, *providers: str) -> None:
        self._providers = list(providers)

    def get_available_providers(self) -> list[str]:
        """Return the providers of this build."""
        return self._providers


INTEL = FakeOpenVino("CPU", "GPU.0", "GPU.1")
NO_GPU = FakeOpenVino("CPU", "NPU")
NVIDIA = FakeOnnxruntime("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionPro")
PLAIN = FakeOnnxruntime("AzureExecutionProvider", "CPUExecutionProvider")
CUDA, GPU = ("onnxruntime", "CUDAExecutionProvider"), ("openvino", "GPU")
OPENVINO, ONNXRUNTIME = ("openvino", "CPU"), ("onnxruntime", "CPUExecutionProvider")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that pretends that some runtimes are installed."""

    def pretend(openvino: FakeOpenVino | None, onnxruntime: FakeOnnxruntime | None) -> None:
        monkeypatch.setitem(sys.modules, "openvino", openvino)
        monkeypatch.setitem(sys.modules, "onnxruntime", onnxruntime)

        def distribution(name: str) -> None:
            assert name == "onnxruntime-gpu"
            if onnxruntime is not NVIDIA:
                raise PackageNotFoundError(name)

        monkeypatch.setattr(network, "distribution", distribution)

    return pretend


@pytest.mark.parametrize(
    ("openvino", "onnxruntime", "expected"),
    [
        (NO_GPU, PLAIN, [OPENVINO, ONNXRUNTIME]),
        (INTEL, PLAIN, [GPU, OPENVINO, ONNXRUNTIME]),
        (NO_GPU, NVIDIA, [CUDA, OPENVINO, ONNXRUNTIME]),
        (INTEL, NVIDIA, [CUDA, GPU, OPENVINO, ONNXRUNTIME]),
        (None, NVIDIA, [CUDA, OPENVINO, ONNXRUNTIME]),
        (INTEL, None, [GPU, OPENVINO, ONNXRUNTIME]),
    ],
)
def test_a_gpu_is_tried_before_the_processor(
    openvino: FakeOpenVino | None,
    onnxruntime: FakeOnnxruntime | None,
    expected: list[tuple[str, str]],
    machine: Callable[..., None],
) -> None:
    """What a runtime offers decides; a GPU is given several blocks at a time."""
    machine(openvino, onnxruntime)
    found = list(candidates())
    assert [(one.runtime, one.device.name) for one in found] == expected
    for one in found:
        assert (one.device.batch > 1) == one.device.is_gpu


@pytest.mark.parametrize(
    ("device", "runtime", "expected"),
    [
        ("cpu", "", [OPENVINO, ONNXRUNTIME]),
        ("gpu", "", [CUDA, GPU]),
        ("gpu", "openvino", [GPU]),
        ("gpu", "onnxruntime", [CUDA]),
        ("", "onnxruntime", [CUDA, ONNXRUNTIME]),
        ("cpu", "onnxruntime", [ONNXRUNTIME]),
    ],
)
def test_runtime_and_device_can_be_chosen(
    device: str,
    runtime: str,
    expected: list[tuple[str, str]],
    machine: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine(INTEL, NVIDIA)
    monkeypatch.setenv(DEVICE_VARIABLE, device)
    monkeypatch.setenv(RUNTIME_VARIABLE, runtime)
    assert [(one.runtime, one.device.name) for one in candidates()] == expected


def test_a_gpu_that_is_asked_for_and_missing_is_an_error(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(NO_GPU, PLAIN)
    monkeypatch.setenv(DEVICE_VARIABLE, "gpu")
    with pytest.raises(EngineMissing, match=r"no runtime offers a GPU here.*Unset ORCHESTRATOR_"):
        load_network(MODEL, WISH)


def test_a_gpu_that_cannot_load_the_network_leaves_it_to_the_processor(
    machine: Callable[..., None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A build of onnxruntime for GPUs also offers its provider where there is no GPU."""
    machine(NO_GPU, NVIDIA)
    tried = []

    def load(candidate: Candidate, model: Path, wish: Wish) -> Candidate:
        tried.append(candidate.device.name)
        if candidate.device.is_gpu:
            raise Unusable("no CUDA-capable device is detected")
        return candidate

    monkeypatch.setattr(network, "_load", load)
    load_network(MODEL, WISH)
    assert tried == ["CUDAExecutionProvider", "CPU"]
    assert "cannot use the GPU: no CUDA-capable device" in caplog.text


class Processor:
    """OpenVINO's public properties of a processor, and the module that names them."""

    def __init__(self, default: str, *capabilities: str) -> None:
        self._values = {"precision": default, "capabilities": list(capabilities)}
        self.module = SimpleNamespace(
            Type=SimpleNamespace(bf16="bf16"),
            properties=SimpleNamespace(
                hint=SimpleNamespace(inference_precision="precision"),
                device=SimpleNamespace(capabilities="capabilities"),
            ),
        )

    def get_property(self, device: str, name: str) -> Any:
        """Return a property."""
        assert device == "CPU"
        return self._values[name]


@pytest.mark.parametrize(
    ("default", "capabilities", "expected"),
    [
        ("bf16", ["FP32", "INT8", "BF16"], True),  # AVX-512 BF16, AMX
        ("f32", ["FP32", "INT8", "BF16"], False),  # AVX-512 without it: emulated
        ("f32", ["FP32", "INT8"], False),
        ("f16", ["FP32", "FP16"], False),  # ARM: too short a range for the squares
    ],
)
def test_bf16_is_taken_only_where_the_processor_has_it(
    default: str, capabilities: list[str], *, expected: bool
) -> None:
    processor = Processor(default, *capabilities)
    assert has_fast_bf16(processor, processor.module) is expected
