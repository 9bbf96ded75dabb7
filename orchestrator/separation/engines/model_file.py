"""Facts about an ONNX file: inputs, outputs and notes in it, and the JSON file beside it.

Only the few fields that are needed are read (numbers of ``onnx.proto``), from the file as it is
mapped into memory: quick, and as small as the header even if the weights have a gigabyte.
"""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from orchestrator.errors import EngineMissing
from orchestrator.separation.protobuf import fields

if TYPE_CHECKING:
    from pathlib import Path


_TYPES: Final = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}


@dataclass(frozen=True, slots=True)
class Value:
    """An input or an output.

    Attributes:
        name: Its name.
        shape: Its sizes; None where the file leaves one open.
        type: Type of its numbers, for people.
    """

    name: str
    shape: tuple[int | None, ...]
    type: str = "float32"

    def __str__(self) -> str:
        """Return name and shape, as a message shows them."""
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{sizes}]" + ("" if self.type == "float32" else f" {self.type}")

    def fits(self, *shape: int | None) -> bool:
        """Return True if the sizes after the first one, that of the batch, are these.

        None stands for any size; a size that the file leaves open fits every one.
        """
        own = self.shape[1:]
        return len(own) == len(shape) and all(
            one == other or one is None or other is None
            for one, other in zip(own, shape, strict=True)
        )


@dataclass(slots=True)
class Graph:
    """A file.

    Attributes:
        inputs: Its inputs.
        outputs: Its outputs.
        notes: Its metadata.
    """

    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return inputs and outputs, as a message shows them."""
        given, made = (
            ", ".join(str(value) for value in values) or "none"
            for values in (self.inputs, self.outputs)
        )
        return f"inputs: {given}; outputs: {made}"


def read_graph(path: Path) -> Graph:
    """Read the inputs, the outputs and the notes of a file.

    Raises:
        EngineMissing: It is missing, not an ONNX file, or has its weights in other files.
    """
    if not path.is_file():
        raise EngineMissing(f"The engine {path} does not exist or is not a file.")
    fault: Exception | None = None
    graph = Graph()
    try:
        with path.open("rb") as file:
            # Not closed by name: parts of it may still be known to an error.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        graph = _model(memoryview(content), path)
    except OSError as error:
        raise EngineMissing(f"The engine {path} cannot be read: {error.strerror}.") from error
    except (ValueError, IndexError) as error:  # UnicodeDecodeError is a ValueError
        fault = error
    if not graph.inputs or not graph.outputs:
        raise EngineMissing(
            f"The engine {path} is damaged, or not a network in the ONNX format; fetch or export "
            "it again."
        ) from fault
    return graph


def _model(raw: memoryview, path: Path) -> Graph:
    """Read a ``ModelProto``: graph=7, metadata_props=14 (key=1, value=2)."""
    graph = Graph()
    for part in _messages(raw, 7):
        weights = {_weight(weight, path) for weight in _messages(part, 5)}
        # Old files list their weights as inputs, too.
        graph.inputs = [one for one in map(_value, _messages(part, 11)) if one.name not in weights]
        graph.outputs = [_value(value) for value in _messages(part, 12)]
    for note in _messages(raw, 14):
        graph.notes[_text(note, 1)] = _text(note, 2)
    return graph


def _weight(raw: memoryview, path: Path) -> str:
    """Return the name of a ``TensorProto``: name=8, external_data=13.

    The hash of a file is part of the jobs' identity, so all of its weights must be in it.
    """
    for _ in _messages(raw, 13):
        raise EngineMissing(
            f"The weights of {path} are in another file. Write them into one, in Python: "
            f'onnx.save(onnx.load("{path.name}"), "whole.onnx")'
        )
    return _text(raw, 8)


def _value(raw: memoryview) -> Value:
    """Read a ``ValueInfoProto``: name=1, type=2 (tensor_type=1: elem_type=1, shape=2: dim=1)."""
    kinds, sizes = [0], []
    for type_ in _messages(raw, 2):
        for tensor in _messages(type_, 1):
            kinds += _numbers(tensor, 1)
            for shape in _messages(tensor, 2):
                sizes += [_size(size) for size in _messages(shape, 1)]
    return Value(_text(raw, 1), tuple(sizes), _TYPES.get(kinds[-1], f"type {kinds[-1]}"))


def _size(raw: memoryview) -> int | None:
    """Return the size of a ``Dimension``: dim_value=1; None if it has a name, or nothing."""
    return next((size for size in _numbers(raw, 1) if size > 0), None)


def _messages(raw: memoryview, wanted: int) -> list[memoryview]:
    return [
        value for number, value in fields(raw) if number == wanted and not isinstance(value, int)
    ]


def _numbers(raw: memoryview, wanted: int) -> list[int]:
    return [value for number, value in fields(raw) if number == wanted and isinstance(value, int)]


def _text(raw: memoryview, wanted: int) -> str:
    return "".join(str(value, "utf-8") for value in _messages(raw, wanted))


def sidecar_of(model: Path) -> Path:
    """Return its path: ``voc_ft.json`` for ``voc_ft.onnx``."""
    return model.with_suffix(".json")


def read_sidecar(model: Path, example: str) -> dict[str, Any] | None:
    """Read the JSON file beside a model; None if there is none.

    Args:
        model: The model.
        example: Its content, for messages.

    Raises:
        EngineMissing: It is not a JSON object.
    """
    path = sidecar_of(model)
    try:
        values = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise EngineMissing(f"{path} cannot be read as JSON ({error}).") from error
    if not isinstance(values, dict):
        raise EngineMissing(f"{path} is not a JSON object; write for example: {example}")
    return values
