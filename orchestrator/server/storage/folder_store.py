"""Read-only view of a local root's objects, without a service.

A service that uses the root at the same time is not disturbed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from orchestrator.domain.remote import (
    ListedObject,
    ObjectHead,
    ObjectPage,
    SkippedFile,
    SkipReason,
)
from orchestrator.errors import ApiAnswer, BucketUnknown, ConfigError, NotFound, Rejected
from orchestrator.server.http.errors import Refusal
from orchestrator.server.storage import listing
from orchestrator.server.storage.keys import RESERVED
from orchestrator.server.storage.metadata import ObjectIndex
from orchestrator.server.storage.objects import ObjectReads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Self

    from orchestrator.domain.spec import Place

_T = TypeVar("_T")


class FolderStore:
    """``ports.ObjectStore`` over a folder, for reading only.

    It shares the metadata index with the service of that root, if there is one, and writes nothing
    else.

    Args:
        root: The folder that holds the buckets.
        buckets: Folders of buckets that are not in the root, by name.
    """

    def __init__(self, root: Path, buckets: Mapping[str, Path] = MappingProxyType({})) -> None:
        self._root = root
        self._buckets = buckets
        self._folders = listing.Folders()
        self._one_at_a_time = asyncio.Lock()  # listings share their blocks

    async def __aenter__(self) -> Self:
        """Open the metadata index."""
        self._index = _open_index(self._root)
        self._objects = ObjectReads(self._root, self._index, self._buckets)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the index."""
        self._index.close()

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        """See ``ports.ObjectStore``."""
        async with self._one_at_a_time:
            return await _off_loop(lambda: self._page(place.bucket, prefix, marker, max_keys))

    def _page(self, bucket: str, prefix: str, marker: str, size: int) -> ObjectPage:
        page = listing.page(
            self._folders, self._objects.folder(bucket), prefix.encode(), b"", marker.encode(), size
        )
        files = [(key.decode(), path) for key, path in page.files]
        listed = tuple(
            ListedObject(key, content.size, content.tag, content.modified_at)
            for key, content in self._objects.describe(bucket, files)
        )
        skipped = [
            SkippedFile(key.decode(errors="backslashreplace"), reason)
            for key, reason in page.skipped
        ]
        if len(listed) < len(files):
            known = {each.key for each in listed}
            skipped += [
                SkippedFile(key, SkipReason.UNREADABLE)
                for key, path in files
                if key not in known and Path(path).exists()
            ]
        return ObjectPage(listed, page.last.decode() if page.truncated else "", tuple(skipped))

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """See ``ports.ObjectStore``."""
        try:
            found = await _off_loop(lambda: self._objects.head(place.bucket, key))
        except NotFound:
            return None
        return ObjectHead(found.size, found.tag, found.content_type, found.modified_at, found.crc64)


def _open_index(root: Path) -> ObjectIndex:
    """Open the index of the root's service, or a temporary one if that cannot be written."""
    path = root / RESERVED / "objects.db"
    if path.is_file() and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        with contextlib.suppress(sqlite3.Error):
            return ObjectIndex(path)
    return ObjectIndex(Path(":memory:"))


async def _off_loop(act: Callable[[], _T]) -> _T:
    """Run ``act`` in a thread; a refusal becomes the error that a client of the service would get.

    Raises:
        BucketUnknown: There is no such bucket.
        NotFound: There is no such object.
        Rejected: The name is not valid.
        ConfigError: The folder cannot be read.
    """
    try:
        return await asyncio.to_thread(act)
    except Refusal as refusal:
        answer = ApiAnswer(refusal.http_status(ci=False), refusal.code, refusal.message)
        if refusal.code == "NoSuchBucket":
            raise BucketUnknown(answer) from refusal
        raise (NotFound if answer.http_status == 404 else Rejected)(answer) from refusal
    except OSError as error:
        raise ConfigError(
            f"The folder {error.filename} cannot be read: {error.strerror or error}."
        ) from error
    except sqlite3.Error as error:
        raise ConfigError(
            f"The object index cannot be read or written ({error}): is the disk full, or the "
            f"root's {RESERVED} folder damaged?"
        ) from error
