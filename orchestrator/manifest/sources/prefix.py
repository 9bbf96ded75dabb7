"""Prefixes: media objects listed from a bucket page by page, in constant memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.domain.spec import MediaObject, Place
from orchestrator.domain.wording import quoted
from orchestrator.errors import EndlessListing
from orchestrator.manifest.sources.item import Skipped, Source, SourceItem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from orchestrator.domain.ports import Clock, ObjectStore
    from orchestrator.domain.remote import ListedObject
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.schema.inputs import PrefixInput

PAGE_SIZE = 1000
"""Largest page of the vendor's listing."""


def _order(key: str) -> bytes:
    """Return the bytes by which a listing is ordered, of keys that may not be UTF-8."""
    return key.encode(errors="surrogateescape")


class PrefixListing:
    """Lists one prefix source.

    Args:
        manifest: The manifest.
        index: Number of the source.
        settings: The source in the manifest.
        store: Storage to list. It repeats failed reads itself (``runner.storage_retries``).
        clock: Clock for the ages of objects.
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
        bucket, region, prefix = self.source.resolved(self.source.text(settings.prefix))
        self.place = Place(bucket, region)
        self.prefix = prefix.removeprefix("/")
        self._listed = 0
        self.left_out = 0
        """Objects that its filters left out; folder markers do not count."""
        self._skipped = Skipped()
        self._filter = self.source.filter(settings)
        now = clock.now()
        by_age = None if settings.max_age is None else now - settings.max_age
        bounds = (settings.modified_from, by_age)
        self._oldest = max((bound for bound in bounds if bound is not None), default=-math.inf)
        by_age = None if settings.min_age is None else now - settings.min_age
        bounds = (settings.modified_to, by_age)
        self._newest = min((bound for bound in bounds if bound is not None), default=math.inf)
        self._smallest = settings.min_size or 0
        self._largest = settings.max_size if settings.max_size is not None else 2**63
        self._file, self._line = manifest.files.item("inputs", index)

    async def batches(self) -> AsyncIterator[list[SourceItem]]:
        """Yield the objects of the prefix page by page, in the order of their names."""
        marker, number, last = "", 0, b""
        bucket, region = self.place.bucket, self.place.region
        while True:
            page = await self.store.list_objects(self.place, self.prefix, marker, PAGE_SIZE)
            batch = []
            self._listed += len(page.objects)
            for name, reason in page.skipped:
                # What a folder holds is not known.
                if name.endswith("/") or self._filter.may_take(name):
                    self._skipped.add(reason, name)
            for listed in page.objects:
                # Pages may overlap if others write during the listing. Names only ever increase.
                if marker and _order(listed.key) <= last:
                    continue
                if not self._takes(listed):
                    self.left_out += not listed.key.endswith("/")
                    continue
                number += 1
                etag = listed.etag.strip('"')
                media = MediaObject(bucket, region, listed.key, etag, listed.size_bytes)
                batch.append(SourceItem(media, self.source.index, number, self._file, self._line))
            yield batch
            if not page.next_marker:
                return
            if _order(page.next_marker) <= last:
                raise EndlessListing(
                    f"The listing of {bucket}/{self.prefix} is stuck: "
                    f"the page after {marker} ends at {page.next_marker}."
                )
            marker = page.next_marker
            last = _order(marker)

    def may_want(self, key: str) -> bool:
        """Return True if an object of this name would be an input, whatever its size and age."""
        return not key.endswith("/") and self._filter.takes(key, self.place.bucket)

    def wants(self, listed: ListedObject) -> bool:
        """Return True if a listed object is an input."""
        return self._takes(listed)

    def _takes(self, listed: ListedObject) -> bool:
        if listed.key.endswith("/") or not self._smallest <= listed.size_bytes <= self._largest:
            return False  # a key that ends with a slash is a folder marker
        if listed.modified_at is not None and not self._oldest <= listed.modified_at < self._newest:
            return False
        return self._filter.takes(listed.key, self.place.bucket)

    def remarks(self) -> list[str]:
        """Return remarks on the listing and on filters, after it was read."""
        if self._listed or self._skipped.total:
            return self.source.filter_remarks(self._filter, self._skipped)
        text = f"No object of {self.place.bucket} has a name that begins with {quoted(self.prefix)}"
        return [str(self.source.manifest.fault(f"{text}.", (*self.source.path, "prefix")))]
