"""CRC-64 as the vendor's ``x-cos-hash-crc64ecma`` carries it: ECMA-182 polynomial, reflected, all ones in and out (also called CRC-64/XZ).

Python's own ``lzma`` module links liblzma, whose ``lzma_crc64`` is this very sum at more than 1 GB/s; where a Python hides that symbol, a
table does the work at some MB/s. (``crcmod``, which the vendor's client uses, was last released in 2010.)
"""

from __future__ import annotations

import ctypes
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_POLYNOMIAL = 0xC96C5795D7870F42  # ECMA-182, bits reversed
_ONES = 0xFFFFFFFFFFFFFFFF


@functools.cache
def _table() -> tuple[int, ...]:
    table = []
    for start in range(256):
        value = start
        for _ in range(8):
            value = (value >> 1) ^ _POLYNOMIAL if value & 1 else value >> 1
        table.append(value)
    return tuple(table)


def by_table(data: bytes, before: int = 0) -> int:
    """The sum of ``data`` after data whose sum is ``before``, in plain Python."""
    table = _table()
    value = before ^ _ONES
    for byte in data:
        value = (value >> 8) ^ table[(value ^ byte) & 0xFF]
    return value ^ _ONES


@functools.cache
def _native() -> Callable[[bytes, int, int], int] | None:
    import _lzma

    try:
        function = ctypes.CDLL(getattr(_lzma, "__file__", None)).lzma_crc64
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_uint64
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]
    return function


def crc64(data: bytes, before: int = 0) -> int:
    """The sum of ``data`` after data whose sum is ``before``."""
    native = _native()
    return by_table(data, before) if native is None else int(native(data, len(data), before))
