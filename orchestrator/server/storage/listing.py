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

from orchestrator.domain.remote import SkipReason
from orchestrator.server.storage.keys import MAX_KEY_BYTES, OWN_FOLDERS, fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BLOCK = 20_000  # names, about 2 MB; a full listing reads a folder of 200,000 names ten times
MAX_BLOCKS = 16
BEYOND = b"\xff"
"""Greater than any UTF-8 byte: ``prefix + BEYOND`` sorts after all keys with that prefix."""


_LINK, _SPECIAL, _UNREADABLE = b"\0l", b"\0s", b"\0u"
_MARKS = {
    _LINK: SkipReason.LINK,
    _SPECIAL: SkipReason.SPECIAL,
    _UNREADABLE: SkipReason.UNREADABLE,
}
"""Ends of names that are not objects; no file name has a NUL byte."""
_OWN_NAMES = frozenset(name.encode() for name in OWN_FOLDERS)
_Level = tuple[str, bytes, bytes, "Iterator[bytes]"]
"""A folder in a walk: path, key of the folder, start inside it, names still to come."""


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
    """Yield files and folders from ``start`` on, unsorted.

    The name of a link or a special file ends with its mark, and a folder that cannot be read is
    only a mark.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                name = os.fsencode(entry.name)
                if entry.is_dir(follow_symlinks=False):
                    name += b"/"
                elif entry.is_symlink():
                    name += (b"/" if entry.is_dir() else b"") + _LINK
                elif not entry.is_file(follow_symlinks=False):
                    name += _SPECIAL
                if name >= start:
                    yield name
    except PermissionError:
        if not start:
            yield _UNREADABLE
    except OSError:
        return  # the folder was deleted during the scan


def _usable(key: bytes) -> bool:
    return _reason_against(key) is None


def _reason_against(key: bytes) -> SkipReason | None:
    """Return the reason why a name is not a key, or None if it is one."""
    try:
        is_key = len(key) <= MAX_KEY_BYTES and not fault_of(key.decode())
    except UnicodeDecodeError:
        return SkipReason.NOT_UTF_8
    return None if is_key else SkipReason.IMPOSSIBLE


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
    folders: Folders,
    bucket_folder: Path,
    prefix: bytes,
    after: bytes,
    skipped: list[tuple[bytes, SkipReason]],
) -> Iterator[tuple[bytes, str]]:
    """Yield ``(key, path)`` of every file with a prefix and after a key, in key order.

    Files that are not objects are added to ``skipped`` when the walk passes them.
    """
    above = prefix[: prefix.rfind(b"/") + 1]
    if after > above and not after.startswith(above):
        return  # all keys with this prefix sort before it
    folder = os.path.realpath(bucket_folder)
    if above:
        if not _usable(above):
            return
        folder = f"{folder}/{os.fsdecode(above[:-1])}"
        if os.path.realpath(folder) != folder:  # part of the path is a link
            if not after and os.path.isdir(folder):  # noqa: PTH112 - a string, as in the walk
                skipped.append((above, SkipReason.LINK))
            return
    start = after[len(above) :] if after.startswith(above) else b""
    first = (folder, above, start, _names(folders, folder, start, prefix[len(above) :]))
    yield from _descend(folders, first, skipped)


def _descend(
    folders: Folders, first: _Level, skipped: list[tuple[bytes, SkipReason]]
) -> Iterator[tuple[bytes, str]]:
    stack = [first]
    while stack:
        folder, above, after, names = stack[-1]
        name = next(names, None)
        if name is None:
            stack.pop()
        elif name.rstrip(b"/").lower() in _OWN_NAMES:
            continue
        elif name.endswith(b"/"):
            inner = after[len(name) :] if after.startswith(name) else b""
            path = f"{folder}/{os.fsdecode(name[:-1])}"
            stack.append((path, above + name, inner, _names(folders, path, inner, b"")))
        elif (mark := name.find(b"\0")) >= 0:
            skipped.append((above + name[:mark], _MARKS[name[mark:]]))
        elif (reason := _reason_against(above + name)) is not None:
            skipped.append((above + name, reason))
        else:
            yield above + name, f"{folder}/{os.fsdecode(name)}"


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing; ``truncated`` if more keys follow ``last``.

    ``skipped`` has the files between the keys that are not objects.
    """

    files: list[tuple[bytes, str]]
    prefixes: list[bytes]
    truncated: bool
    last: bytes
    skipped: Sequence[tuple[bytes, SkipReason]] = ()


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
    skipped: list[tuple[bytes, SkipReason]] = []
    keys = walk(folders, bucket_folder, prefix, after, skipped)
    while (found := next(keys, None)) is not None:
        if len(files) + len(prefixes) == size:
            # The walk is one key ahead; the next page passes the files before that key again.
            passed = [(name, why) for name, why in skipped if name <= last]
            return Page(files, prefixes, truncated=True, last=last, skipped=passed)
        end = found[0].find(delimiter, len(prefix)) if delimiter else -1
        if end < 0:
            files.append(found)
            last = found[0]
        else:
            last = found[0][: end + len(delimiter)]
            prefixes.append(last)
            keys = walk(folders, bucket_folder, prefix, last + BEYOND, skipped)
    return Page(files, prefixes, truncated=False, last=last, skipped=skipped)
