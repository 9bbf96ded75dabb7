"""Bytes of a file by their position, in small reads: what the readers of headers stand on."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path


_BLOCK_BYTES: Final = 1 << 20


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

    def is_blank(self, position: int) -> bool:
        """Return True if only zeros follow."""
        while data := self.at(position, _BLOCK_BYTES):
            if data.count(0) < len(data):
                return False
            position += len(data)
        return True

    def last_content(self) -> int:
        """Return the position behind the last byte that is not zero."""
        end = self.size
        while end > 0:
            start = max(end - _BLOCK_BYTES, 0)
            content = self.at(start, end - start).rstrip(b"\0")
            if content:
                return start + len(content)
            end = start
        return 0

    def number(self, position: int, count: int, order: str = "big") -> int:
        """Return an unsigned number of ``count`` bytes; 0 beyond the end of the file."""
        data = self.at(position, count)
        return int.from_bytes(data, "little" if order == "little" else "big")


@contextmanager
def byte_source(path: Path) -> Iterator[ByteSource]:
    """Open a file for reading by position."""
    with path.open("rb") as file:
        yield ByteSource(file, path.stat().st_size)
