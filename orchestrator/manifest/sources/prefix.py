"""A prefix of a bucket as media objects, page by page, at constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.spec import MediaObject, Place
from orchestrator.errors import EndlessListing, OrchestratorError
from orchestrator.manifest.sources.item import Source, SourceItem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.domain.ports import Clock, ObjectStore
    from orchestrator.domain.remote import ListedObject, ObjectPage
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.schema.inputs import PrefixInput

PAGE_SIZE = 1000
"""Largest page of the vendor's listing."""
ATTEMPTS = 6
"""Tries per page: a listing of 200 pages must not fail for one reset. Reading twice does no harm."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 20.0


class Lister:
    """Lists one prefix source.

    Args:
        manifest: The manifest.
        index: Number of the source.
        settings: What the manifest says of it.
        store: Where to list.
        clock: For ages, and for pauses between tries.
    """

    def __init__(
        self,
        manifest: Manifest,
        index: int,
        settings: PrefixInput,
        store: ObjectStore,
        clock: Clock,
    ) -> None:
        self.source = Source(manifest, index)
        self.settings = settings
        self.store = store
        self.clock = clock
        self.place = Place(self.source.bucket, self.source.region)
        self.prefix = self.source.text(settings.prefix).removeprefix("/")
        self._filter = self.source.filter(settings)
        now = clock.now()
        bounds = [
            settings.modified_from,
            now - settings.max_age if settings.max_age is not None else None,
        ]
        self._oldest = max((bound for bound in bounds if bound is not None), default=float("-inf"))
        limits = [
            settings.modified_to,
            now - settings.min_age if settings.min_age is not None else None,
        ]
        self._newest = min((limit for limit in limits if limit is not None), default=float("inf"))
        self._smallest = settings.min_size or 0
        self._largest = settings.max_size if settings.max_size is not None else 2**63
        self._file, self._line = manifest.files.item("inputs", index)

    async def batches(self) -> AsyncIterator[list[SourceItem]]:
        """The objects of the prefix, a page at a time, in the order of their names."""
        marker, index = "", 0
        while True:
            page = await self._page(marker)
            batch = []
            for listed in page.objects:
                # Pages of a listing that goes on while others write may overlap; names only ever grow.
                if listed.key <= marker and marker:
                    continue
                if self._takes(listed):
                    index += 1
                    media = MediaObject(
                        self.place.bucket,
                        self.place.region,
                        listed.key,
                        listed.etag.strip('"'),
                        listed.size_bytes,
                    )
                    batch.append(
                        SourceItem(media, self.source.index, index, self._file, self._line)
                    )
            yield batch
            if not page.next_marker:
                return
            if page.next_marker <= marker:
                raise EndlessListing(
                    f"The listing of {self.place.bucket}/{self.prefix} does not get on: {page.next_marker} came after {marker}."
                )
            marker = page.next_marker

    def _takes(self, listed: ListedObject) -> bool:
        if listed.key.endswith("/") or not self._smallest <= listed.size_bytes <= self._largest:
            return False  # a key with a slash at the end is a folder marker
        if listed.modified_at is not None and not self._oldest <= listed.modified_at < self._newest:
            return False
        return self._filter.takes(listed.key)

    async def _page(self, marker: str) -> ObjectPage:
        pause_s = _FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self.store.list_objects(self.place, self.prefix, marker, PAGE_SIZE)
            except OrchestratorError as error:
                if not error.retryable or attempt == ATTEMPTS:
                    raise
                await self.clock.sleep(max(pause_s, error.retry_after_s or 0))
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        raise AssertionError  # the last attempt returns or raises
