"""Read the fields of a protocol buffer message, without its schema and without copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

Raw = TypeVar("Raw", bytes, memoryview)
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_KINDS = frozenset({_VARINT, _FIXED64, _BYTES, _FIXED32})
_LONGEST_VARINT = 10


def fields(message: Raw) -> Iterator[tuple[int, int | Raw]]:
    """Yield the field numbers and values of a message.

    Raises:
        IndexError: The message ends too early, or is none: content of another kind is found out
            within a few bytes, however long it is.
    """
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        kind = tag & 7
        if not tag >> 3 or kind not in _KINDS:
            raise IndexError
        if kind == _VARINT:
            value, at = varint(message, at)
            yield tag >> 3, value
            continue
        length = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if length is None:
            length, at = varint(message, at)
        if at + length > len(message):
            raise IndexError
        yield tag >> 3, message[at : at + length]
        at += length


def varint(raw: bytes | memoryview, at: int) -> tuple[int, int]:
    """Return a little-endian base-128 number, and the position after it."""
    value = 0
    for number in range(_LONGEST_VARINT):
        byte = raw[at + number]
        value |= (byte & 0x7F) << 7 * number
        if not byte & 0x80:
            return value, at + number + 1
    raise IndexError
