"""Read a TensorFlow 2 checkpoint ("tensor bundle") without TensorFlow.

A bundle is an index and a data file of raw little-endian tensors. The index is a LevelDB table
(sorted keys with shared prefixes, in blocks) whose values are small protocol buffers
(``BundleEntryProto``: type, shape, offset, size). Layout: LevelDB ``doc/table_format.md`` and
TensorFlow ``core/protobuf/tensor_bundle.proto``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.separation.protobuf import fields, varint

if TYPE_CHECKING:
    from collections.abc import Iterator

Tensors: TypeAlias = dict[str, npt.NDArray[np.float32]]

_FOOTER_BYTES: Final = 48
_MAGIC: Final = 0xDB4775248B80FB57
_FLOAT32: Final = 1
"""``DT_FLOAT`` in TensorFlow's ``types.proto``."""


class BundleError(ValueError):
    """The checkpoint is damaged, or of an unsupported kind."""


def read_bundle(index: bytes, data: bytes) -> Tensors:
    """Read all float32 tensors of a checkpoint.

    Args:
        index: Content of ``model.index``.
        data: Content of ``model.data-00000-of-00001``.

    Returns:
        Tensors by the name of their variable, without other types (step counters).

    Raises:
        BundleError: The index is not a tensor bundle, is compressed, or points outside the data.
    """
    try:
        entries = dict(_table(index))
        return {
            key.decode(): tensor
            for key, value in entries.items()
            if key and (tensor := _tensor(value, data)) is not None
        }
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        message = "the checkpoint's index is damaged"
        raise BundleError(message) from error


def _table(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield all keys and values, by the table's index block."""
    footer = raw[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        message = "the checkpoint's index is not a LevelDB table"
        raise BundleError(message)
    _, _, at = _handle(
        footer, 0
    )  # the first handle is that of the (empty) block of table properties
    start, size, _ = _handle(footer, at)
    for _, handle in _block(raw, start, size):
        start, size, _ = _handle(handle, 0)
        yield from _block(raw, start, size)


def _block(raw: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of one block; a key shares its first bytes with the last one."""
    if raw[start + size]:
        message = "the checkpoint's index is compressed, which is not supported"
        raise BundleError(message)
    block = raw[start : start + size]
    (restarts,) = struct.unpack("<I", block[-4:])
    end = size - 4 * (restarts + 1)
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        rest, at = varint(block, at)
        length, at = varint(block, at)
        key = key[:shared] + block[at : at + rest]
        at += rest
        yield key, block[at : at + length]
        at += length


def _tensor(entry: bytes, data: bytes) -> npt.NDArray[np.float32] | None:
    """Return the tensor of a ``BundleEntryProto``: dtype=1, shape=2, offset=4, size=5."""
    known: dict[int, int | bytes] = dict(fields(entry))
    if known.get(1) != _FLOAT32:
        return None
    shape_proto, offset, size = known.get(2, b""), known.get(4, 0), known.get(5, 0)
    if not (
        isinstance(shape_proto, bytes) and isinstance(offset, int) and isinstance(size, int)
    ) or offset + size > len(data):
        message = "the checkpoint's index points outside its data"
        raise BundleError(message)
    shape = [_dimension(value) for number, value in fields(shape_proto) if number == 2]
    if int(np.prod(shape)) * 4 != size:
        message = "a tensor of the checkpoint does not have the size of its shape"
        raise BundleError(message)
    return np.frombuffer(data, "<f4", count=size // 4, offset=offset).reshape(shape)


def _dimension(proto: int | bytes) -> int:
    """Return the size of a ``TensorShapeProto.Dim``: size=1."""
    sizes = [
        value for number, value in fields(proto if isinstance(proto, bytes) else b"") if number == 1
    ]
    return sizes[0] if sizes and isinstance(sizes[0], int) else 0


def _handle(raw: bytes, at: int) -> tuple[int, int, int]:
    """Return a block's offset and size, and the position after them."""
    offset, at = varint(raw, at)
    size, at = varint(raw, at)
    return offset, size, at
