"""Object keys as file names, and the guarantee that no key leaves the root.

A key is a relative path below its bucket's folder, unchanged, so that a folder of media can be
served as it is. Keys that file systems cannot hold (empty, ``.`` and ``..`` segments, control
characters, segments over 255 bytes) are refused, not escaped. Symbolic links inside a bucket are
not followed. The bucket's own folder may be one, because only the owner of the root can put it
there.
"""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.request import BUCKET

RESERVED = ".service"
"""Folder of the service's own files, in the root (and in a bucket on another file system)."""

OWN_FOLDERS = frozenset({RESERVED, ".orchestrator"})
"""Folders that are not part of a bucket at any depth: a bucket may hold the root of a service, or
the ledger of a run."""

MAX_KEY_BYTES = 850  # the vendor's limit, counted in UTF-8
MAX_SEGMENT_BYTES = 255  # the limit of common file systems
_ODD_SEGMENT = re.compile(r"(?:^|/)(\.{0,2})(?=/|\Z)")
_OWN_SEGMENT = re.compile(
    rf"(?:^|/)({'|'.join(map(re.escape, sorted(OWN_FOLDERS)))})(?=/|\Z)", re.IGNORECASE
)
# A character has at most four bytes: 63 of them are within every limit of a segment.
_PLAIN = re.compile("(?:[^./][^/]{0,62}/)*[^./][^/]{0,62}/?")
_ODD = ("", ".", "/")
_CONTROL = re.compile("[\x00-\x1f\x7f\ufffe\uffff]")


def fault_of(key: str) -> str:
    """Return the fault of a key, or an empty text if it is valid here."""
    if key.isprintable() and _PLAIN.fullmatch(key):  # nearly all keys
        return ""
    try:
        raw = key.encode()
    except UnicodeEncodeError:
        return "it is not UTF-8"
    if not raw:
        return "it is empty"
    if _CONTROL.search(key):
        return "it has control characters"
    if odd := _ODD_SEGMENT.search(key.removesuffix("/")):
        if odd[1]:
            return "it has a segment '.' or '..'"
        return "it has an empty segment (a leading or doubled slash)"
    if (key[:1] == "." or "/." in key) and (own := _OWN_SEGMENT.search(key)):
        return f"a folder {own[1]}/ belongs to the service or to a run"
    if len(raw) > MAX_SEGMENT_BYTES and max(map(len, raw.split(b"/"))) > MAX_SEGMENT_BYTES:
        return f"a segment has more than {MAX_SEGMENT_BYTES} bytes"
    return ""


def are_plain(joined: str) -> bool:
    """Return True if all of some keys are certainly valid names of objects here.

    False says nothing: nearly all keys are plain, and only the others need :func:`fault_of`.

    Args:
        joined: The keys, with a slash between each two.
    """
    if joined.endswith("/") or not joined.isprintable():
        return False
    if joined.isascii():  # so short, no part of it has too many bytes
        is_short = len(joined) <= MAX_SEGMENT_BYTES
        return is_short and joined[:1] not in _ODD and "//" not in joined and "/." not in joined
    # A character has at most four bytes, so that each key is within the limit.
    return len(joined) <= MAX_KEY_BYTES // 4 and _PLAIN.fullmatch(joined) is not None


def check(key: str) -> None:
    """Check that a key is valid here.

    Raises:
        Refusal: ``KeyTooLong`` or ``InvalidObjectName``.
    """
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise Refusal("KeyTooLong", f"The object key has more than {MAX_KEY_BYTES} bytes.")
    fault = fault_of(key)
    if fault:
        raise Refusal(
            "InvalidObjectName", f"The object key {key[:80]!r} cannot be used here: {fault}."
        )


@functools.lru_cache(256)  # every request needs one
def bucket_folder(root: Path, bucket: str) -> Path:
    """Return the bucket's folder, which need not exist.

    Raises:
        Refusal: ``InvalidBucketName``.
    """
    if not BUCKET.fullmatch(bucket):
        raise Refusal(
            "InvalidBucketName", f"{bucket[:80]!r} is not a bucket name such as media-1250000000."
        )
    return root / bucket


def locate(folder: Path, key: str) -> Path | None:
    """Return the path of an object below its bucket's ``folder``; None if it has a symbolic link.

    Raises:
        Refusal: As :func:`check`.
    """
    check(key)
    inside = os.path.realpath(folder)
    # The name on the disk is the key's bytes, whatever encoding the locale has.
    path = f"{inside}/{os.fsdecode(key.removesuffix('/').encode())}"
    # Equal only if no part of it is a link; a missing part cannot be one.
    return Path(path) if os.path.realpath(path) == path else None
