"""Who reads and who writes which object, so that two jobs never write the same one; and what is remembered of each job meanwhile.

A million jobs claim three million objects. As Python sets that would be half a gigabyte. Here each claim is a record of 12 bytes on a
``Scratch`` (a temporary file, once there are many), and two bytes of it, its *tag*, stay in memory: an object whose tag is not among
those of its part of the table is free, and that is nearly always so. Only where the tag is there, one record is read back and compared.
So memory grows by less than ten bytes per job.

Names are compared by 64-bit hashes. Two different names share one about once in four million plans of a million jobs; such a plan
would be refused, never silently merged.
"""

from __future__ import annotations

from array import array
from struct import Struct
from sys import getsizeof
from typing import Protocol

_PARTS = 1 << 14
"""Parts of the table: at a million jobs each has under 200 tags to look through, which takes half a microsecond."""
_CHUNK = 32
"""Records of one part that are written together."""
_CLAIM = Struct("<qI")
"""Hash of the object; owner, with the input bit."""
_INPUT_BIT = 1
"""The lowest bit of an owner says whether the claim is on an input (1) or on an output (0)."""
_NO_CHUNK = 0
_CHUNK_BYTES = _CHUNK * _CLAIM.size


class Scratch(Protocol):
    """Bytes that are kept elsewhere for as long as a plan is made."""

    def append(self, data: bytes) -> None:
        """Keep these too, behind all others."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` on."""
        ...


class InMemory:
    """A scratch for plans that are small, or where no file can be made."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def append(self, data: bytes) -> None:
        """Keep these too."""
        self._kept += data

    def read(self, offset: int, size: int) -> bytes:
        """``size`` bytes from ``offset`` on."""
        return bytes(self._kept[offset : offset + size])


class Claims:
    """A table from 64-bit hashes to owners (numbers of jobs).

    Args:
        scratch: Takes what need not be in memory; its own, nobody else writes there.
    """

    __slots__ = ("_before", "_count", "_last", "_scratch", "_tags", "_tails")

    def __init__(self, scratch: Scratch | None = None) -> None:
        self._scratch = InMemory() if scratch is None else scratch
        self._tags: list[bytearray | None] = [
            None
        ] * _PARTS  # of each part, of all its claims, two bytes each
        self._tails: list[bytearray | None] = [
            None
        ] * _PARTS  # of each part, the records that are not written yet
        self._last = array(
            "I", bytes(4 * _PARTS)
        )  # of each part, the chunk that was written last, counted from 1
        self._before = array("I", [_NO_CHUNK])  # of each chunk, the one before it in its part
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Memory of the table, without what the scratch took."""
        flat = len(self._last) * self._last.itemsize + len(self._before) * self._before.itemsize
        return flat + sum(
            getsizeof(kept) for kept in (*self._tags, *self._tails) if kept is not None
        )

    def claim(self, value: int, owner: int, *, is_input: bool) -> tuple[int, bool] | None:
        """Claim an object for a job.

        Args:
            value: Hash of the object (of ``hash``: its low bits are as good as its high ones).
            owner: Number of the job, from 0.
            is_input: Whether the job reads it; else it writes it.

        Returns:
            None if it was free, or is only read by others too; otherwise the job that claimed it first, and whether that one reads it.
        """
        part = value & (_PARTS - 1)
        tag = (value >> 16 & 0xFFFF).to_bytes(2, "little")
        tags, tail = self._tags[part], self._tails[part]
        if tags is None or tail is None:
            tags = self._tags[part] = bytearray()
            tail = self._tails[part] = bytearray()
        elif (place := tags.find(tag)) >= 0:
            first = self._found(value, part, tag, place)
            if first is not None:
                reads = bool(first & _INPUT_BIT)
                return None if reads and is_input else (first >> 1, reads)
        tags += tag
        tail += _CLAIM.pack(value, owner << 1 | is_input)
        if len(tail) == _CHUNK_BYTES:
            self._put_away(part, tail)
        self._count += 1
        return None

    def _found(self, value: int, part: int, tag: bytes, place: int) -> int | None:
        """The owner of the claim with this value, looked for where tags are the same: from ``place`` on."""
        tags = self._tags[part] or bytearray()
        while place >= 0:
            if not place & 1:  # else it is the end of one tag and the beginning of the next
                known, owner = self._record(part, place >> 1, len(tags) >> 1)
                if known == value:
                    return owner
            place = tags.find(tag, place + 1)
        return None

    def _record(self, part: int, number: int, count: int) -> tuple[int, int]:
        """One of the ``count`` claims of a part."""
        chunks = count // _CHUNK
        inside = number % _CHUNK * _CLAIM.size
        if number >= chunks * _CHUNK:
            known, owner = _CLAIM.unpack_from(self._tails[part] or b"", inside)
            return known, owner
        chunk = self._last[part]
        for _ in range(chunks - 1 - number // _CHUNK):
            chunk = self._before[chunk]
        known, owner = _CLAIM.unpack(
            self._scratch.read((chunk - 1) * _CHUNK_BYTES + inside, _CLAIM.size)
        )
        return known, owner

    def _put_away(self, part: int, tail: bytearray) -> None:
        self._scratch.append(bytes(tail))
        tail.clear()
        self._before.append(self._last[part])
        self._last[part] = len(self._before) - 1


class Records:
    """Two numbers for each job, a signed one of 64 bits and one of 32, in the order of the jobs.

    Args:
        scratch: Takes all but the last few; its own, nobody else writes there.
    """

    __slots__ = ("_count", "_scratch", "_tail")

    _RECORD = Struct("<qI")
    _TOGETHER = 4096

    def __init__(self, scratch: Scratch | None = None) -> None:
        self._scratch = InMemory() if scratch is None else scratch
        self._tail = bytearray()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, first: int, second: int) -> None:
        """Keep the numbers of one more job."""
        self._tail += self._RECORD.pack(first, second)
        self._count += 1
        if len(self._tail) == self._TOGETHER * self._RECORD.size:
            self._scratch.append(bytes(self._tail))
            self._tail = bytearray()

    def __getitem__(self, number: int) -> tuple[int, int]:
        """The numbers of a job, counted from 0."""
        size = self._RECORD.size
        away = self._count // self._TOGETHER * self._TOGETHER
        kept = (
            self._tail[(number - away) * size :][:size]
            if number >= away
            else self._scratch.read(number * size, size)
        )
        first, second = self._RECORD.unpack(kept)
        return first, second
