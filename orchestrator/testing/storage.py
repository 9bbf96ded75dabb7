"""An object storage in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.remote import ListedObject, ObjectHead, ObjectPage
from orchestrator.errors import ApiAnswer, NotFound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from orchestrator.domain.spec import Place


class FakeStorage:
    """``ObjectStore`` in memory; it keeps only the size of each object.

    Args:
        trip: Awaited by every request but ``get`` and ``put``; may raise.
    """

    def __init__(self, trip: Callable[[], Awaitable[None]] | None = None) -> None:
        self.objects: dict[tuple[Place, str], int] = {}
        self.heads = 0
        self._given_trip = trip

    async def _trip(self, place: Place) -> None:  # noqa: ARG002 - the service's is by bucket
        """Take the time of a request, or raise."""
        if self._given_trip is not None:
            await self._given_trip()

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """See ``ports.ObjectStore``."""
        self.heads += 1
        await self._trip(place)
        size = self.objects.get((place, key))
        return None if size is None else ObjectHead(size, etag="0" * 32)

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        """See ``ports.ObjectStore``."""
        await self._trip(place)
        keys = sorted(
            key
            for at, key in self.objects
            if at == place and key.startswith(prefix) and key > marker
        )
        page = keys[:max_keys]
        return ObjectPage(
            tuple(ListedObject(key, self.objects[place, key]) for key in page),
            page[-1] if len(keys) > max_keys else "",
        )

    async def get(self, place: Place, key: str) -> AsyncIterator[bytes]:
        """Return an object's content, zero bytes of its size; ``NotFound`` if it does not exist."""
        if (place, key) not in self.objects:
            raise NotFound(ApiAnswer(404, "NoSuchKey", key))
        return _pieces(b"\0" * self.objects[place, key])

    async def put(
        self, place: Place, key: str, content: bytes, content_type: str = "application/octet-stream"
    ) -> ObjectHead:
        """Store an object as a whole; an existing one is replaced."""
        self.objects[place, key] = len(content)
        return ObjectHead(len(content), content_type=content_type)


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content
