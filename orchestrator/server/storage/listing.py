"""The keys of a bucket in UTF-8 order, from a folder tree, in constant memory.

Within one folder, names are sorted as bytes with a slash behind folders: then walking it in that order gives the order of the full keys
(``a-b`` before ``a.txt`` before ``a/b``). A folder is read in windows of its smallest names beyond the marker, so 200,000 names in one
folder are neither held nor sorted at once; the last windows are kept and are dropped when their folder changes.
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

WINDOW = (
    20_000  # names per window: some 2 MB; a folder of 200,000 is read ten times in a full listing
)
MAX_WINDOWS = 16
BEYOND = b"\xff"
"""Sorts behind every UTF-8 continuation: ``prefix + BEYOND`` is after all keys that begin with ``prefix``."""


@dataclass(frozen=True, slots=True)
class _Window:
    """The smallest names of a folder from ``start`` on; ``whole`` if there are no more behind them."""

    mtime_ns: int
    start: bytes
    names: list[bytes]
    whole: bool

    def serves(self, start: bytes, mtime_ns: int) -> bool:
        """Whether the names from ``start`` on can be read from here."""
        fresh = self.mtime_ns == mtime_ns and self.start <= start
        return fresh and (self.whole or start <= self.names[-1])


class Folders:
    """Reads folders in windows, and remembers the last ones. Used by one thread at a time."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._kept: OrderedDict[str, _Window] = OrderedDict()

    def names_from(self, folder: str, start: bytes) -> Iterator[bytes]:
        """Names of a folder that are not less than ``start``, in order, folders with a slash behind."""
        while True:
            window = self._load(folder, start)
            yield from window.names[bisect_left(window.names, start) :]
            if window.whole:
                return
            start = window.names[-1] + b"\0"

    def _load(self, folder: str, start: bytes) -> _Window:
        try:
            mtime_ns = os.stat(folder).st_mtime_ns  # noqa: PTH116 - hot: once per window
        except OSError:
            return _Window(0, start, [], whole=True)
        kept = self._kept.get(folder)
        if kept and kept.serves(start, mtime_ns):
            self._kept.move_to_end(folder)
            return kept
        names = heapq.nsmallest(self._window, _scan(folder, start))
        window = _Window(mtime_ns, start, names, whole=len(names) < self._window)
        self._kept[folder] = window
        self._kept.move_to_end(folder)
        while len(self._kept) > MAX_WINDOWS:
            self._kept.popitem(last=False)
        return window


def _scan(folder: str, start: bytes) -> Iterator[bytes]:
    """Names of regular files and folders from ``start`` on, in no order; links, sockets and devices are passed over."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                is_folder = entry.is_dir(follow_symlinks=False)
                name = os.fsencode(entry.name) + (b"/" if is_folder else b"")
                if name >= start and (is_folder or entry.is_file(follow_symlinks=False)):
                    yield name
    except OSError:
        return  # the folder went away while it was read, or may not be read


def _usable(key: bytes) -> bool:
    try:
        return len(key) <= MAX_KEY_BYTES and not fault_of(key.decode())
    except UnicodeDecodeError:
        return False


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114 - plain strings all the way here


def _names(folders: Folders, folder: str, after: bytes, prefix: bytes) -> Iterator[bytes]:
    """Names of one folder that begin with ``prefix`` and hold keys beyond ``after``."""
    head, slash, tail = after.partition(b"/")
    if (
        slash
        and tail != BEYOND
        and head.startswith(prefix)
        and _is_folder(f"{folder}/{os.fsdecode(head)}")
    ):
        yield head + slash  # it sorts before `after`, but part of its content does not
    for name in folders.names_from(folder, max(after + b"\0" if after else b"", prefix)):
        if not name.startswith(prefix):
            return
        yield name


def walk(
    folders: Folders, bucket_folder: Path, prefix: bytes, after: bytes
) -> Iterator[tuple[bytes, str]]:
    """``(key, path)`` of every file whose key begins with ``prefix`` and is greater than ``after``, in key order."""
    above = prefix[: prefix.rfind(b"/") + 1]
    if after > above and not after.startswith(above):
        return  # all keys with this prefix lie before it
    folder = os.path.realpath(bucket_folder)
    if above:
        if not _usable(above):
            return
        folder = f"{folder}/{os.fsdecode(above[:-1])}"
        if os.path.realpath(folder) != folder:
            return  # a link in the way
    yield from _descend(
        folders,
        folder,
        above,
        after[len(above) :] if after.startswith(above) else b"",
        prefix[len(above) :],
    )


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
    """One page of a listing: keys with their paths, common prefixes, and whether more follow the last of them."""

    files: list[tuple[bytes, str]]
    prefixes: list[bytes]
    truncated: bool
    last: bytes


def page(
    folders: Folders, bucket_folder: Path, prefix: bytes, delimiter: bytes, marker: bytes, size: int
) -> Page:
    """Up to ``size`` keys and common prefixes together, after ``marker``."""
    after = marker
    if (
        delimiter
        and marker.startswith(prefix)
        and marker.endswith(delimiter)
        and len(marker) > len(prefix)
    ):
        after = (
            marker + BEYOND
        )  # a page ended with this common prefix: all that it stands for has been told
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
