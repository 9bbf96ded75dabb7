"""An object storage in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.remote import ListedObject, ObjectHead, ObjectPage

if TYPE_CHECKING:
    from orchestrator.domain.spec import Place


class FakeStorage:
    """``ObjectStore`` in memory; it keeps only the size of each object."""

    def __init__(self) -> None:
        self.objects: dict[tuple[Place, str], int] = {}
        self.heads = 0

    async def _trip(self) -> None:
        """Take the time of a request, or raise."""

    async def head(self, place: Place, key: str) -> ObjectHead | None:
        """See ``ports.ObjectStore``."""
        self.heads += 1
        await self._trip()
        size = self.objects.get((place, key))
        return None if size is None else ObjectHead(size, etag="0" * 32)

    async def list_objects(
        self, place: Place, prefix: str, marker: str = "", max_keys: int = 1000
    ) -> ObjectPage:
        """See ``ports.ObjectStore``."""
        await self._trip()
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
