"""CRC-64/ECMA is the one that the vendor's client computes."""

from __future__ import annotations

import crcmod  # type: ignore[import-untyped] # the vendor's client brings it along
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.server.storage.crc64 import by_table, crc64

# Parameters as in the vendor's Python client (cos_client.py).
VENDOR = crcmod.mkCrcFun(0x142F0E1EBA9EA3693, initCrc=0, xorOut=0xFFFFFFFFFFFFFFFF, rev=True)


@given(st.binary(max_size=500), st.integers(0, 500))
def test_both_ways_agree_with_the_vendors_client_also_in_pieces(data: bytes, cut: int) -> None:
    assert crc64(data) == by_table(data) == VENDOR(data)
    assert crc64(data[cut:], crc64(data[:cut])) == VENDOR(data)
    assert by_table(data[cut:], by_table(data[:cut])) == VENDOR(data)


@pytest.mark.parametrize(("data", "expected"), [(b"", 0), (b"123456789", 0x995DC9BBDF1939FA)])
def test_the_check_value_of_the_catalogue(data: bytes, expected: int) -> None:
    assert crc64(data) == by_table(data) == expected
