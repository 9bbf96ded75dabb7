"""Bytes of a file by their position, in small reads: what the readers of headers stand on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path


class ByteSource:
    """An open file.

    Attributes:
        size: Its size in bytes.
    """

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._file = file
        self.size = size

    def at(self, position: int, count: int) -> bytes:
        """Return up to ``count`` bytes; fewer at the end of the file, none beyond it."""
        if position < 0 or position >= self.size:
            return b""
        self._file.seek(position)
        return self._file.read(min(count, self.size - position))

    def number(self, position: int, count: int, order: str = "big") -> int:
        """Return an unsigned number of ``count`` bytes; 0 beyond the end of the file."""
        data = self.at(position, count)
        return int.from_bytes(data, "little" if order == "little" else "big")


@contextmanager
def byte_source(path: Path) -> Iterator[ByteSource]:
    """Open a file for reading by position."""
    with path.open("rb") as file:
        yield ByteSource(file, path.stat().st_size)
