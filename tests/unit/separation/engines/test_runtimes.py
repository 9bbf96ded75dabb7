"""A runtime is chosen by what is installed; the processor decides the precision."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.network import Wish
from orchestrator.separation.engines.openvino_network import has_fast_bf16
from orchestrator.separation.engines.runtimes import (
    PRECISION_VARIABLE,
    RUNTIME_VARIABLE,
    load_network,
)

MODEL = Path("absent.onnx")
WISH = Wish(((2, 64, 64),), 1)


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)
    monkeypatch.delenv(PRECISION_VARIABLE, raising=False)


def test_without_any_runtime_the_message_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(EngineMissing, match=r"openvino or onnxruntime; run: pip install .*\[local"):
        load_network(MODEL, WISH)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (RUNTIME_VARIABLE, "tensorflow", "=tensorflow is not a runtime; set openvino or onnxrun"),
        (PRECISION_VARIABLE, "f16", "=f16 is not a precision; set f32"),
    ],
)
def test_an_unknown_choice_is_refused_with_those_that_exist(
    variable: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(EngineMissing, match=f"{variable}{words}"):
        load_network(MODEL, WISH)


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
