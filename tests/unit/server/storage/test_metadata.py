"""The CRC-64 of an object is the one that the vendor's client computes."""

from __future__ import annotations

import crcmod  # type: ignore[import-untyped] # a dependency of the vendor's client
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.server.storage.metadata import Sums

# Parameters as in the vendor's Python client (cos_client.py).
VENDOR = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF, rev=True)


def crc64(*pieces: bytes) -> int:
    sums = Sums()
    for piece in pieces:
        sums.add(piece)
    return int(sums.crc64)


@given(st.binary(max_size=500), st.integers(0, 500), st.integers(0, 500))
def test_the_sum_agrees_with_the_vendors_client_also_in_pieces(
    data: bytes, first: int, second: int
) -> None:
    one, two = sorted((first, second))

    assert crc64(data) == VENDOR(data)
    assert crc64(data[:one], data[one:two], data[two:]) == VENDOR(data)


@pytest.mark.parametrize(("data", "expected"), [(b"", 0), (b"123456789", 0x995DC9BBDF1939FA)])
def test_the_check_value_of_the_catalogue(data: bytes, expected: int) -> None:
    assert crc64(data) == expected
