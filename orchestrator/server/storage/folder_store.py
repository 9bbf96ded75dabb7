"""The objects of a local root as they lie there, for who only looks: no service is started, none that works on the root is disturbed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from orchestrator.domain.remote import ListedObject, ObjectHead, ObjectPage
from orchestrator.errors import ApiAnswer, ConfigError, NotFound, Rejected
from orchestrator.server.http.errors import Refusal
from orchestrator.server.storage import listing
from orchestrator.server.storage.index import ObjectIndex
from orchestrator.server.storage.keys import RESERVED
from orchestrator.server.storage.reader import ObjectReads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Self

    from orchestrator.domain.spec import Place

_T = TypeVar("_T")
_NOT_FOUND = 404  # HTTP status of what does not exist


class FolderStore:
    """``ports.ObjectStore`` over a folder, for reading only.

    What was computed of the objects' content is shared with the service of that root, where there is one; nothing else is written.

    Args:
        root: The folder that holds the buckets.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders = listing.Folders()
        self._one_at_a_time = asyncio.Lock()  # the windows of a listing are shared

    async def __aenter__(self) -> Self:
        """Open what is known of the objects."""
        self._index = _open_index(self._root)
        self._objects = ObjectReads(self._root, self._index)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
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
        described = self._objects.describe(
            bucket, [(key.decode(), path) for key, path in page.files]
        )
        listed = tuple(
            ListedObject(key, content.size, content.md5, content.modified_at)
            for key, content in described
        )
        return ObjectPage(listed, page.last.decode() if page.truncated else "")

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """See ``ports.ObjectStore``."""
        try:
            found = await _off_loop(lambda: self._objects.head(place.bucket, key))
        except NotFound:
            return None
        return ObjectHead(found.size, found.md5, found.content_type, found.modified_at, found.crc64)

    async def get(self, place: Place, key: str) -> AsyncIterator[bytes]:
        """Not to be called: who only looks reads no content."""
        _refuse(place, key, "read")

    async def put(
        self,
        place: Place,
        key: str,
        content: bytes,  # noqa: ARG002
        content_type: str = "",  # noqa: ARG002
    ) -> ObjectHead:
        """Not to be called: who only looks changes nothing."""
        _refuse(place, key, "written")


def _refuse(place: Place, key: str, what: str) -> NoReturn:
    raise ConfigError(
        f"{place.bucket}/{key} cannot be {what}: its folder was opened to look at names only."
    )


def _open_index(root: Path) -> ObjectIndex:
    """What the service of this root knows of its objects; where there is none, or it may not be touched, one for the moment."""
    path = root / RESERVED / "objects.db"
    if path.is_file() and os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        with contextlib.suppress(sqlite3.Error):
            return ObjectIndex(path)
    return ObjectIndex(Path(":memory:"))


async def _off_loop(act: Callable[[], _T]) -> _T:
    """Do what blocks in a thread; a refusal becomes the error that the client of the service would see.

    Raises:
        NotFound: There is no such bucket or object.
        Rejected: The name cannot be one.
        ConfigError: The folder cannot be read.
    """
    try:
        return await asyncio.to_thread(act)
    except Refusal as refusal:
        answer = ApiAnswer(refusal.http_status(ci=False), refusal.code, refusal.message)
        raise (NotFound if answer.http_status == _NOT_FOUND else Rejected)(answer) from refusal
    except OSError as error:
        raise ConfigError(
            f"The folder {error.filename} cannot be read: {error.strerror or error}."
        ) from error
    except sqlite3.Error as error:
        message = f"What is known of the objects cannot be read or kept ({error}): is the disk full, or the root's {RESERVED} folder damaged?"
        raise ConfigError(message) from error
