"""Who reads and who writes which object: a compact table, so that two jobs never write the same one.

A million jobs claim three million objects. As Python sets that would be half a gigabyte; here it is an index of 4 bytes per slot over flat
arrays, 64-bit hashes instead of names. Two different names share a hash about once in four million plans of that size; such a plan would be
refused, never silently merged.
"""

from __future__ import annotations

from array import array

_FREE = 0
_FIRST_SLOTS = 1 << 10
_INPUT_BIT = 1
"""The lowest bit of an owner says whether the claim is on an input (1) or on an output (0)."""


class Claims:
    """A table from 64-bit hashes to owners (numbers of jobs)."""

    __slots__ = ("_hashes", "_index", "_mask", "_owners")

    def __init__(self) -> None:
        self._index = array("I", bytes(4 * _FIRST_SLOTS))
        self._mask = _FIRST_SLOTS - 1
        self._hashes = array("q")
        self._owners = array("I")

    def __len__(self) -> int:
        return len(self._hashes)

    @property
    def size_bytes(self) -> int:
        """Memory of the table."""
        return sum(len(kept) * kept.itemsize for kept in (self._index, self._hashes, self._owners))

    def claim(self, value: int, owner: int, *, is_input: bool) -> tuple[int, bool] | None:
        """Claim an object for a job.

        Args:
            value: Hash of the object (of ``hash``: its low bits are as good as its high ones).
            owner: Number of the job, from 0.
            is_input: Whether the job reads it; else it writes it.

        Returns:
            None if it was free, or is only read by others too; otherwise the job that claimed it first, and whether that one reads it.
        """
        index, mask, hashes = self._index, self._mask, self._hashes
        slot = value & mask
        while (position := index[slot]) != _FREE:
            if hashes[position - 1] == value:
                first = self._owners[position - 1]
                reads = bool(first & _INPUT_BIT)
                return None if reads and is_input else (first >> 1, reads)
            slot = (slot + 1) & mask
        hashes.append(value)
        self._owners.append(owner << 1 | is_input)
        index[slot] = len(hashes)
        if len(hashes) * 3 > mask * 2:
            self._grow()
        return None

    def _grow(self) -> None:
        slots = (self._mask + 1) * 2
        mask = slots - 1
        self._index = array("I")  # let the old one go before the new one comes
        index = array("I", bytes(4)) * slots
        for position, value in enumerate(self._hashes, 1):
            slot = value & mask
            while index[slot] != _FREE:
                slot = (slot + 1) & mask
            index[slot] = position
        self._index, self._mask = index, mask
