"""Fields of protocol buffer messages, and content that is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from orchestrator.separation.protobuf import fields, varint


def test_fields_are_those_that_were_written() -> None:
    tensor = helper.make_tensor("weights", TensorProto.INT64, [2], [1, 1 << 40])
    found = list(fields(tensor.SerializeToString()))
    assert (8, b"weights") in found
    assert (2, TensorProto.INT64) in found
    assert list(fields(memoryview(b"\x08\x96\x01"))) == [(1, 150)]


@given(st.integers(0, 2**64 - 1))
def test_numbers_are_read_as_they_were_written(number: int) -> None:
    raw, rest = b"", number
    while rest > 0x7F:
        raw, rest = raw + bytes([rest & 0x7F | 0x80]), rest >> 7
    raw += bytes([rest])
    assert varint(raw + b"more", 0) == (number, len(raw))


@pytest.mark.parametrize("byte", [0x00, 0x80, 0xFF, 0x0B, 0x0E])
def test_long_content_of_another_kind_is_refused_at_once(byte: int) -> None:
    """Zeros make no field, and a number has ten bytes at most: nothing reads to the end."""
    content = memoryview(bytes([byte]) * 50_000_000)
    with pytest.raises(IndexError):
        next(fields(content))


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        for number, value in fields(content):
            assert number > 0
            assert isinstance(value, int) or value in content
    except IndexError:
        pass
