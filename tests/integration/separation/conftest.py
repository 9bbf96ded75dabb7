"""Fixtures: media, and weights and checkpoints that are independent of the published ones."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.errors import EngineMissing
from orchestrator.separation.formats import OutputFormat
from orchestrator.separation.install.installed import installed_engine
from orchestrator.separation.media.container import open_media
from orchestrator.separation.media.decode import Decoder
from orchestrator.separation.media.encode import StemWriter
from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block
    from orchestrator.separation.install.checkpoint import Tensors

ROOT = REPOSITORY
FILTERS = (2, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class DemoFile:
    """A demo file and its true stems."""

    mixture: Path
    voice: Path
    background: Path


def demo_files() -> list[DemoFile]:
    """Return all demo files."""
    stems = ROOT / "tests/media"
    inputs = sorted((ROOT / "manifests/media/demo-1250000000/input").iterdir())
    return [
        DemoFile(path, stems / f"{path.stem}.voice.m4a", stems / f"{path.stem}.background.m4a")
        for path in inputs
    ]


def decode(path: Path) -> Block:
    """Return the whole sound of a file."""
    with open_media(path) as container:
        return np.concatenate([np.zeros((0, 2), np.float32), *Decoder(path, container).blocks()])


def encode(
    path: Path,
    sound: Block,
    codec: str = "wav",
    samplerate_hz: int = 44100,
    channels: int = 2,
    bitrate_kbps: int = 0,
) -> Path:
    """Write a sound to a file."""
    writer = StemWriter(path, OutputFormat(codec, samplerate_hz, channels, bitrate_kbps))
    writer.write(sound)
    writer.close()
    return path


def tones(seconds: float) -> Block:
    """Return a gliding tone left and another one right, different at every instant."""
    time_s = np.arange(round(seconds * 44100)) / 44100
    left = 0.4 * np.sin(2 * np.pi * (440 * time_s + 20 * np.sin(2 * np.pi * 0.7 * time_s)))
    right = 0.3 * np.sin(2 * np.pi * (300 + 200 * time_s) * time_s)
    return np.stack([left, right], axis=1).astype(np.float32)


@pytest.fixture(scope="session")
def engine_file() -> Path:
    """The published weights, which ``scripts/setup`` installs; without them the tests fail."""
    try:
        return installed_engine()
    except EngineMissing as error:
        pytest.fail(f"{error} (or scripts/setup)")


@dataclass(frozen=True)
class Media:
    """Functions for media, and the demo files."""

    decode: Callable[[Path], Block]
    encode: Callable[..., Path]
    tones: Callable[[float], Block]
    demo: list[DemoFile]


@pytest.fixture(scope="session")
def media() -> Media:
    """Functions for media, and the demo files."""
    return Media(decode, encode, tones, demo_files())


def random_weights(filters: tuple[int, ...] = FILTERS) -> Tensors:
    """Return random weights with the names and shapes of the published ones (or narrower)."""
    draw = np.random.default_rng(7)
    tensors: Tensors = {}

    def add(name: str, *shape: int, spread: float = 1.0, middle: float = 0.0) -> None:
        tensors[name] = (middle + spread * draw.standard_normal(shape)).astype(np.float32)

    def add_kernel(layer: str, *shape: int, inputs: int) -> None:
        add(f"{layer}/kernel", *shape, spread=(8 * inputs) ** -0.5)
        add(f"{layer}/bias", shape[2] if "transpose" in layer else shape[3], spread=0.1)

    up = (*reversed(filters[1:-1]), 1)
    for net in range(2):
        for level in range(6):
            add_kernel(
                _name("conv2d", 7 * net + level),
                5,
                5,
                filters[level],
                filters[level + 1],
                inputs=filters[level],
            )
            below = filters[-1] if level == 0 else 2 * up[level - 1]
            add_kernel(
                _name("conv2d_transpose", 6 * net + level), 5, 5, up[level], below, inputs=below
            )
        add_kernel(_name("conv2d", 7 * net + 6), 4, 4, 1, 2, inputs=1)
        for number, width in enumerate((*filters[1:], *up)):
            layer = _name("batch_normalization", 12 * net + number)
            add(f"{layer}/gamma", width, spread=0.1, middle=1)
            add(f"{layer}/beta", width, spread=0.1)
            add(f"{layer}/moving_mean", width, spread=0.1)
            tensors[f"{layer}/moving_variance"] = draw.uniform(0.5, 1.5, width).astype(np.float32)
    return tensors


@dataclass(frozen=True)
class Checkpoints:
    """Functions for weights."""

    random: Callable[..., Tensors]
    write: Callable[..., tuple[bytes, bytes]]


@pytest.fixture(scope="session")
def checkpoints() -> Checkpoints:
    """Functions for weights."""
    return Checkpoints(random_weights, write_bundle)


def _name(layer: str, number: int) -> str:
    return f"{layer}_{number}" if number else layer


def write_bundle(tensors: Tensors, *, per_block: int = 5) -> tuple[bytes, bytes]:
    """Return the index and the data of a TensorFlow 2 bundle, in many small blocks."""
    data = b""
    entries = [(b"", b"\x08\x01\x1a\x02\x08\x01")]  # the header: one shard, version 1
    for name, tensor in sorted(tensors.items()):
        shape = b"".join(_field(2, _number(1, size)) for size in tensor.shape)
        raw = tensor.astype("<f4").tobytes()
        proto = (
            _number(1, 1)
            + _field(2, shape)
            + _number(4, len(data))
            + _number(5, len(raw))
            + b"\x35\x00\x00\x00\x00"
        )
        entries.append((name.encode(), proto))
        data += raw
    counter = _number(1, 9) + _number(4, 0) + _number(5, 8)  # an int64, not a weight
    entries.append((b"zz/counter", counter))
    table, handles = b"", []
    for start in range(0, len(entries), per_block):
        chunk = entries[start : start + per_block]
        block = _block(chunk)
        handles.append((chunk[-1][0] + b"~", varint(len(table)) + varint(len(block))))
        table += block + b"\x00" + b"\x00" * 4
    index = _block(handles)
    footer = varint(0) + varint(0) + varint(len(table)) + varint(len(index))
    return table + index + b"\x00" * 5 + footer.ljust(40, b"\x00") + struct.pack(
        "<Q", 0xDB4775248B80FB57
    ), data


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    out, before = b"", b""
    for key, value in entries:
        shared = next(
            (at for at, (one, other) in enumerate(zip(key, before, strict=False)) if one != other),
            min(len(key), len(before)),
        )
        out += (
            varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        )
        before = key
    return out + struct.pack("<II", 0, 1)


def varint(value: int) -> bytes:
    """Encode a base-128 number."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def _field(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value
