"""Claims of jobs on the objects that they read and write: no two jobs may write the same object.

A million jobs claim three million objects, half a gigabyte as Python sets. Here a claim is a record
of 12 bytes in a ``Scratch`` (a temporary file), and two bytes of its hash, the *tag*, stay in
memory. If the tag of an object is not in its part of the table, the object is free. That is the
usual case. Otherwise one record is read back and compared. Memory grows by less than ten bytes per
job. A temporary SQLite database in its place cost 22 to 33 % more CPU per object.

Names are compared by 64-bit hashes. Two different names have the same hash about once in four
million plans of a million jobs. Such a plan is refused; its jobs are never merged.
"""

from __future__ import annotations

from array import array
from struct import Struct
from sys import getsizeof
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

_PARTS = 1 << 14
"""Parts of the table. At a million jobs each has fewer than 200 tags, a search of 0.5 us."""
_CHUNK = 32
"""Records of one part that are written together."""
_CLAIM = Struct("<qI")
"""Hash of the object; owner, with the input bit."""
_INPUT_BIT = 1
"""Lowest bit of an owner: the claim is on an input (1) or on an output (0)."""
_NO_CHUNK = 0
_CHUNK_BYTES = _CHUNK * _CLAIM.size


class Scratch(Protocol):
    """Storage of bytes outside the planner, for the time of a plan."""

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        ...

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``."""
        ...


class InMemory:
    """Scratch in memory, for small plans."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._kept += data

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``."""
        return bytes(self._kept[offset : offset + size])


class Claims:
    """A table from 64-bit hashes to owners (numbers of jobs).

    Args:
        scratch: Storage of the records, used by this table only.
    """

    __slots__ = ("_before", "_count", "_last", "_scratch", "_tags", "_tails")

    def __init__(self, scratch: Scratch | None = None) -> None:
        self._scratch = InMemory() if scratch is None else scratch
        # By part: the tags of all its claims, two bytes each, and the records not yet written.
        self._tags: list[bytearray | None] = [None] * _PARTS
        self._tails: list[bytearray | None] = [None] * _PARTS
        self._last = array("I", bytes(4 * _PARTS))  # by part: the chunk written last, from 1
        self._before = array("I", [_NO_CHUNK])  # by chunk: the previous chunk of its part
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def size_bytes(self) -> int:
        """Memory of the table, without the scratch."""
        flat = len(self._last) * self._last.itemsize + len(self._before) * self._before.itemsize
        return flat + sum(
            getsizeof(kept) for kept in (*self._tags, *self._tails) if kept is not None
        )

    def claim(self, value: int, owner: int, *, is_input: bool) -> tuple[int, bool] | None:
        """Claim an object for a job, if it is free.

        Args:
            value: Hash of the object by ``hash``, whose low bits are as random as its high bits.
            owner: Number of the job, from 0.
            is_input: True if the job reads the object, False if it writes it.

        Returns:
            None if the object was free, or all jobs only read it. Otherwise the first job that
            claimed it, and True if that job reads it.
        """
        part = value & (_PARTS - 1)
        tag = (value >> 16 & 0xFFFF).to_bytes(2, "little")
        tags = self._tags[part]
        if tags is not None and (place := tags.find(tag)) >= 0:
            first = self._find(value, part, tag, place)
            if first is not None:
                is_read = bool(first & _INPUT_BIT)
                return None if is_read and is_input else (first >> 1, is_read)
        self._add(part, tag, value, owner << 1 | is_input)
        return None

    def claim_outputs(self, values: Sequence[int], owner: int) -> tuple[int, int, bool] | None:
        """Claim all objects that a job writes, or none of them.

        Returns:
            None if all were free. Otherwise the place of the first one that was not, the job that
            claimed it, and True if that job reads it.
        """
        free = []
        for number, value in enumerate(values):
            part = value & (_PARTS - 1)
            tag = (value >> 16 & 0xFFFF).to_bytes(2, "little")
            tags = self._tags[part]
            if tags is not None and (place := tags.find(tag)) >= 0:
                first = self._find(value, part, tag, place)
                if first is not None:
                    return number, first >> 1, bool(first & _INPUT_BIT)
            free.append((part, tag, value))
        for part, tag, value in free:
            self._add(part, tag, value, owner << 1)
        return None

    def _add(self, part: int, tag: bytes, value: int, owner: int) -> None:
        tags, tail = self._tags[part], self._tails[part]
        if tags is None or tail is None:
            tags = self._tags[part] = bytearray()
            tail = self._tails[part] = bytearray()
        tags += tag
        tail += _CLAIM.pack(value, owner)
        if len(tail) == _CHUNK_BYTES:
            self._scratch.append(bytes(tail))
            tail.clear()
            self._before.append(self._last[part])
            self._last[part] = len(self._before) - 1
        self._count += 1

    def _find(self, value: int, part: int, tag: bytes, place: int) -> int | None:
        """Return the owner of the claim with this value, searched at equal tags from ``place``."""
        tags = self._tags[part] or bytearray()
        while place >= 0:
            if not place & 1:  # an odd place is the end of one tag and the start of the next
                known, owner = self._record(part, place >> 1, len(tags) >> 1)
                if known == value:
                    return owner
            place = tags.find(tag, place + 1)
        return None

    def _record(self, part: int, number: int, count: int) -> tuple[int, int]:
        """Return one of the ``count`` claims of a part: its value and owner."""
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


class Names:
    """A text for each job in order, outside memory.

    Args:
        scratch: Storage of the texts, used by this object only.
        places: Storage of their places, used by this object only.
    """

    __slots__ = ("_places", "_scratch", "_tail", "_written")

    _TOGETHER = 1 << 16

    def __init__(self, scratch: Scratch, places: Scratch) -> None:
        self._scratch = scratch
        self._places = Records(places)
        self._tail = bytearray()
        self._written = 0

    def append(self, text: str) -> None:
        """Add the text of the next job."""
        raw = text.encode()
        self._places.append(self._written + len(self._tail), len(raw))
        self._tail += raw
        if len(self._tail) >= self._TOGETHER:
            self._scratch.append(bytes(self._tail))
            self._written += len(self._tail)
            self._tail = bytearray()

    def __getitem__(self, number: int) -> str:
        """Return the text of a job, counted from 0."""
        start, size = self._places[number]
        if start >= self._written:
            return self._tail[start - self._written :][:size].decode()
        return self._scratch.read(start, size).decode()


class Records:
    """Two numbers for each job in order: a signed one of 64 bits and an unsigned one of 32.

    Args:
        scratch: Storage of all but the last few, used by this object only.
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
        """Add the numbers of the next job."""
        self._tail += self._RECORD.pack(first, second)
        self._count += 1
        if len(self._tail) == self._TOGETHER * self._RECORD.size:
            self._scratch.append(bytes(self._tail))
            self._tail = bytearray()

    def __getitem__(self, number: int) -> tuple[int, int]:
        """Return the numbers of a job, counted from 0."""
        size = self._RECORD.size
        away = self._count // self._TOGETHER * self._TOGETHER
        kept = (
            self._tail[(number - away) * size :][:size]
            if number >= away
            else self._scratch.read(number * size, size)
        )
        first, second = self._RECORD.unpack(kept)
        return first, second
