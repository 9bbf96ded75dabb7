"""The keys of a bucket in UTF-8 order, from a folder tree, in constant memory.

Within a folder, names are sorted as bytes, with a slash appended to folders. A walk in that order
gives the order of the full keys (``a-b`` before ``a.txt`` before ``a/b``). A folder is read in
blocks of its smallest names after the marker, so that 200,000 names in one folder are neither held
nor sorted at once. The last blocks are kept until their folder changes.
"""

from __future__ import annotations

import heapq
import os
from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.server.storage.keys import MAX_KEY_BYTES, RESERVED, fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK = 20_000  # names, about 2 MB; a full listing reads a folder of 200,000 names ten times
MAX_BLOCKS = 16
BEYOND = b"\xff"
"""Greater than any UTF-8 byte: ``prefix + BEYOND`` sorts after all keys with that prefix."""


@dataclass(frozen=True, slots=True)
class _Block:
    """The smallest names of a folder from ``start`` on; ``whole`` if no more names follow."""

    mtime_ns: int
    start: bytes
    names: list[bytes]
    whole: bool

    def serves(self, start: bytes, mtime_ns: int) -> bool:
        """Return True if the names from ``start`` on can be read from here."""
        fresh = self.mtime_ns == mtime_ns and self.start <= start
        return fresh and (self.whole or start <= self.names[-1])


class Folders:
    """Reads folders in blocks, and keeps the last ones. Only one thread may use it at a time."""

    def __init__(self, block: int = BLOCK) -> None:
        self._size = block
        self._kept: OrderedDict[str, _Block] = OrderedDict()

    def names_from(self, folder: str, start: bytes) -> Iterator[bytes]:
        """Yield the sorted names of a folder from ``start`` on, with a slash after each folder."""
        while True:
            block = self._load(folder, start)
            yield from block.names[bisect_left(block.names, start) :]
            if block.whole:
                return
            start = block.names[-1] + b"\0"

    def _load(self, folder: str, start: bytes) -> _Block:
        try:
            mtime_ns = os.stat(folder).st_mtime_ns  # noqa: PTH116 - hot: once per block
        except OSError:
            return _Block(0, start, [], whole=True)
        kept = self._kept.get(folder)
        if kept and kept.serves(start, mtime_ns):
            self._kept.move_to_end(folder)
            return kept
        names = heapq.nsmallest(self._size, _scan(folder, start))
        block = _Block(mtime_ns, start, names, whole=len(names) < self._size)
        self._kept[folder] = block
        self._kept.move_to_end(folder)
        while len(self._kept) > MAX_BLOCKS:
            self._kept.popitem(last=False)
        return block


def _scan(folder: str, start: bytes) -> Iterator[bytes]:
    """Yield files and folders from ``start`` on, unsorted, without links, sockets and devices."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                name = os.fsencode(entry.name) + (b"/" if is_folder else b"")
                if name >= start and (is_folder or entry.is_file(follow_symlinks=False)):
                    yield name
    except OSError:
        return  # the folder was deleted during the scan, or is not readable


def _usable(key: bytes) -> bool:
    try:
        return len(key) <= MAX_KEY_BYTES and not fault_of(key.decode())
    except UnicodeDecodeError:
        return False


def _is_folder(path: str) -> bool:
    # Plain strings, because a Path for each of a million keys is slow.
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114


def _names(folders: Folders, folder: str, after: bytes, prefix: bytes) -> Iterator[bytes]:
    """Yield the names of a folder that begin with ``prefix`` and hold keys after ``after``."""
    head, slash, tail = after.partition(b"/")
    if (
        slash
        and tail != BEYOND
        and head.startswith(prefix)
        and _is_folder(f"{folder}/{os.fsdecode(head)}")
    ):
        yield head + slash  # it sorts before `after`, unlike part of its content
    for name in folders.names_from(folder, max(after + b"\0" if after else b"", prefix)):
        if not name.startswith(prefix):
            return
        yield name


def walk(
    folders: Folders, bucket_folder: Path, prefix: bytes, after: bytes
) -> Iterator[tuple[bytes, str]]:
    """Yield ``(key, path)`` of every file with a prefix and after a key, in key order."""
    above = prefix[: prefix.rfind(b"/") + 1]
    if after > above and not after.startswith(above):
        return  # all keys with this prefix sort before it
    folder = os.path.realpath(bucket_folder)
    if above:
        if not _usable(above):
            return
        folder = f"{folder}/{os.fsdecode(above[:-1])}"
        if os.path.realpath(folder) != folder:
            return  # part of the path is a link
    start = after[len(above) :] if after.startswith(above) else b""
    yield from _descend(folders, folder, above, start, prefix[len(above) :])


def _descend(
    folders: Folders, folder: str, above: bytes, after: bytes, prefix: bytes
) -> Iterator[tuple[bytes, str]]:
    stack = [(folder, above, after, _names(folders, folder, after, prefix))]
    while stack:
        folder, above, after, names = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
        elif not above and name.rstrip(b"/").lower() == RESERVED.encode():
            continue
        elif name.endswith(b"/"):
            inner = after[len(name) :] if after.startswith(name) else b""
            path = f"{folder}/{os.fsdecode(name[:-1])}"
            stack.append((path, above + name, inner, _names(folders, path, inner, b"")))
        elif _usable(above + name):
            yield above + name, f"{folder}/{os.fsdecode(name)}"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; ``truncated`` if more keys follow ``last``."""

    files: list[tuple[bytes, str]]
    prefixes: list[bytes]
    truncated: bool
    last: bytes


def page(
    folders: Folders, bucket_folder: Path, prefix: bytes, delimiter: bytes, marker: bytes, size: int
) -> Page:
    """Return up to ``size`` keys and common prefixes in total, after ``marker``."""
    after = marker
    is_prefix = delimiter and marker.startswith(prefix) and marker.endswith(delimiter)
    if is_prefix and len(marker) > len(prefix):
        after = marker + BEYOND  # the last page ended with this common prefix: skip all its keys
    files: list[tuple[bytes, str]] = []
    prefixes: list[bytes] = []
    last = b""
    keys = walk(folders, bucket_folder, prefix, after)
    while (found := next(keys, None)) is not None:
        if len(files) + len(prefixes) == size:
            return Page(files, prefixes, truncated=True, last=last)
        end = found[0].find(delimiter, len(prefix)) if delimiter else -1
        if end < 0:
            files.append(found)
            last = found[0]
        else:
            last = found[0][: end + len(delimiter)]
            prefixes.append(last)
            keys = walk(folders, bucket_folder, prefix, last + BEYOND)
    return Page(files, prefixes, truncated=False, last=last)
