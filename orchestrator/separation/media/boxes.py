"""Walks over the parts of which containers are made: chunks, boxes and elements, by their sizes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.separation.media.byte_source import ByteSource

MOST_PARTS: Final = 100_000
"""Parts after which a walk ends; a damaged file may have any number."""


def chunks(
    source: ByteSource, start: int, order: str, end: int | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, position of the content and size of chunks with 32-bit sizes, padded to 2."""
    position = start
    for _ in range(MOST_PARTS):
        head = source.at(position, 8)
        if len(head) < 8 or (end is not None and position >= end):
            return
        size = struct.unpack(f"{order}I", head[4:])[0]
        yield head[:4], position + 8, size
        position += 8 + size + (size & 1)


def avi_tracks(source: ByteSource) -> Iterator[dict[bytes, int]]:
    """Yield the positions of the contents of the headers of each track of an avi file, by name."""
    for name, at, size in chunks(source, 12, "<"):
        if name != b"LIST" or source.at(at, 4) != b"hdrl":
            return
        for part, start, length in chunks(source, at + 4, "<", at + size):
            if part == b"LIST" and source.at(start, 4) == b"strl":
                leaves = chunks(source, start + 4, "<", start + length)
                yield {leaf: place for leaf, place, _ in leaves}


def w64_chunks(source: ByteSource) -> Iterator[tuple[bytes, int, int]]:
    """Yield the first four bytes of the name, position of the content and size of W64 chunks."""
    position = 40
    for _ in range(MOST_PARTS):
        head = source.at(position, 24)
        if len(head) < 24:
            return
        size = int.from_bytes(head[16:24], "little")
        yield head[:4], position + 24, size - 24
        position += max(size + 7 & ~7, 24)


def caf_chunks(source: ByteSource) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, position of the content and size of CAF chunks; -1 is an unknown size."""
    position = 8
    for _ in range(MOST_PARTS):
        head = source.at(position, 12)
        if len(head) < 12:
            return
        size = int.from_bytes(head[4:], "big", signed=True)
        yield head[:4], position + 12, size
        if size < 0:
            return
        position += 12 + size


def voc_blocks(source: ByteSource) -> Iterator[tuple[int, int, int]]:
    """Yield kind, position of the content and size of VOC blocks; kind 0 is the mark of the end."""
    position = source.number(20, 2, "little")
    for _ in range(MOST_PARTS):
        head = source.at(position, 4)
        if head[:1] == b"\0":
            yield 0, position + 1, 0
        if len(head) < 4 or not head[0]:
            return
        size = int.from_bytes(head[1:], "little")
        yield head[0], position + 4, size
        position += 4 + size


def elements(source: ByteSource, position: int, end: int) -> Iterator[tuple[int, int, int | None]]:
    """Yield id, position of the content and size of EBML elements; None is an unknown size."""
    for _ in range(MOST_PARTS):
        element = _element(source, position) if position < end else None
        if element is None:
            return
        yield element
        if element[2] is None:
            return
        position = element[1] + element[2]


def _element(source: ByteSource, position: int) -> tuple[int, int, int | None] | None:
    """Return id, position of the content and size (None: unknown) of an EBML element."""
    head = source.at(position, 12)
    if len(head) < 2 or not head[0]:
        return None
    id_bytes = 9 - head[0].bit_length()
    if len(head) <= id_bytes or not head[id_bytes]:
        return None
    size_bytes = 9 - head[id_bytes].bit_length()
    raw = int.from_bytes(head[id_bytes : id_bytes + size_bytes], "big")
    mask = (1 << 7 * size_bytes) - 1
    size = None if raw & mask == mask else raw & mask
    return int.from_bytes(head[:id_bytes], "big"), position + id_bytes + size_bytes, size


def boxes(source: ByteSource, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, position of the content and its size of the boxes of an mp4 file."""
    for _ in range(MOST_PARTS):
        head = source.at(position, 16)
        if len(head) < 8 or position >= end:
            return
        size, header = int.from_bytes(head[:4], "big"), 8
        if size == 1 and len(head) == 16:
            size, header = int.from_bytes(head[8:], "big"), 16
        elif size == 0:  # up to the end of the file
            size = end - position
        if size < header:
            return
        yield head[4:8], position + header, size - header
        position += size


def boxes_at(
    source: ByteSource, path: tuple[bytes, ...], position: int, end: int
) -> Iterator[tuple[int, int]]:
    """Yield position and size of the contents of all boxes at a path."""
    for name, start, size in boxes(source, position, end):
        if name != path[0]:
            continue
        if len(path) == 1:
            yield start, size
        else:
            yield from boxes_at(source, path[1:], start, min(start + size, source.size))
