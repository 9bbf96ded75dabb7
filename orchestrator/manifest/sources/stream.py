"""All sources of a manifest as one stream of batches, in the order of the manifest."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from orchestrator.domain.clock import SystemClock
from orchestrator.domain.spec import MediaObject
from orchestrator.errors import BucketRefused, ConfigError
from orchestrator.manifest.diagnostics import FaultList
from orchestrator.manifest.schema.inputs import FolderInput, ListInput, ObjectInput, PrefixInput
from orchestrator.manifest.sources.address import AddressRefused
from orchestrator.manifest.sources.folder import FolderListing
from orchestrator.manifest.sources.item import Source, SourceItem, is_carried
from orchestrator.manifest.sources.list_file import ListReader
from orchestrator.manifest.sources.prefix import PrefixListing
from orchestrator.manifest.template import TemplateError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from orchestrator.domain.ports import Clock, ObjectStore
    from orchestrator.manifest.manifest import Manifest

    _MakeLister = Callable[[int, PrefixInput | FolderInput], PrefixListing]

BATCH = 500
"""Objects per batch: few enough to send the first job at once, enough to make a batch cheap."""
_T = TypeVar("_T")


@dataclass(slots=True)
class Found:
    """Facts about sources that were read.

    Attributes:
        remarks: What is unusual about them.
        left_out: Objects that filters left out, by source.
    """

    remarks: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


async def read(
    manifest: Manifest,
    store: ObjectStore | None = None,
    *,
    faults: FaultList | None = None,
    clock: Clock | None = None,
    batch_size: int = BATCH,
    skip_prefixes: bool = False,
    found: Found | None = None,
) -> AsyncIterator[list[SourceItem]]:
    """Yield every object of the manifest, in batches.

    Args:
        manifest: The manifest.
        store: Storage to list prefixes; not needed if there are none (``manifest.needs_listing``).
        faults: Collects faults of sources, and reading continues. If left out, faults are raised
            after their batch. A wrong row becomes an item with a ``problem`` instead.
        clock: Clock for the ages of listed objects.
        batch_size: Objects per batch; a page of a listing is one batch.
        skip_prefixes: Leave out prefixes and folders instead of listing them.
        found: Receives facts about each source, when it was read.

    Raises:
        ManifestError: If a list file has faults, unless ``faults`` collects them.
        OrchestratorError: If a bucket cannot be listed. If it is refused, after all other sources
            were read.
    """
    collected = FaultList() if faults is None else faults

    def lister(index: int, settings: PrefixInput | FolderInput) -> PrefixListing:
        if store is None:
            raise ConfigError("A prefix is listed from the object storage, but none is open.")
        if isinstance(settings, FolderInput):
            return FolderListing(manifest, index, settings, store, clock or SystemClock())
        return PrefixListing(manifest, index, settings, store, clock or SystemClock())

    made = None if skip_prefixes else lister
    batches = _batches(manifest, made, collected, batch_size, found or Found())
    async for batch in batches:
        if faults is None:
            collected.raise_if_any()
        if batch:
            yield batch
    if faults is None:
        collected.raise_if_any()


async def _batches(
    manifest: Manifest,
    lister: _MakeLister | None,
    faults: FaultList,
    size: int,
    found: Found,
) -> AsyncIterator[list[SourceItem]]:
    inline: list[SourceItem] = []
    refusal: BucketRefused | None = None
    for index, settings in enumerate(manifest.inputs):
        if isinstance(settings, ObjectInput):
            _add_inline(inline, manifest, index, settings, faults)
            if len(inline) < size:
                continue
        yield inline
        inline = []
        if isinstance(settings, PrefixInput | FolderInput) and lister is not None:
            try:
                async for page in _pages(lister(index, settings), found):
                    yield page
            except BucketRefused as error:
                refusal = refusal or error  # sources in other buckets can still be read
        elif isinstance(settings, ListInput):
            reader = ListReader(manifest, index, settings, faults)
            async for rows in _listed(reader, size, found.remarks):
                yield rows
    yield inline
    if refusal is not None:
        raise refusal


def _add_inline(
    batch: list[SourceItem],
    manifest: Manifest,
    index: int,
    settings: ObjectInput,
    faults: FaultList,
) -> None:
    try:
        source = Source(manifest, index)
        key = source.text(settings.object)
        bucket, region, key = source.resolved(key)
    except TemplateError as error:
        faults.add(manifest.fault(error.message, ("inputs", index), error.hint))
        return
    except AddressRefused as error:
        faults.add(manifest.fault(error.message, ("inputs", index, "object")))
        return
    etag = (settings.etag or "").strip('"')
    media = MediaObject(bucket, region, key, etag, settings.size_bytes, settings.duration_s)
    file, line = manifest.files.item("inputs", index)
    own = settings.user_data if is_carried("user_data", settings.user_data) else None
    batch.append(SourceItem(media, index, 1, file, line, level=settings.level, user_data=own))


async def _pages(listing: PrefixListing, found: Found) -> AsyncIterator[list[SourceItem]]:
    async for page in listing.batches():
        yield page
    found.remarks += listing.remarks()
    if listing.left_out:
        found.left_out[f"inputs[{listing.source.index}]"] = listing.left_out


async def _listed(
    reader: ListReader, size: int, remarks: list[str]
) -> AsyncIterator[list[SourceItem]]:
    rows = reader.batches(size)
    while (batch := await _in_thread(lambda: next(rows, None))) is not None:
        yield batch
    remarks += reader.remarks()


async def _in_thread(work: Callable[[], _T]) -> _T:
    """Run work that may wait for a disk or for keyboard input in a daemon thread.

    A run that is stopped while standard input is silent must end; a thread of asyncio's pool would
    keep it alive.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]  # without an error there is a result

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as caught:  # noqa: BLE001  # raised again in the event loop
            error = caught
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="list-reader", daemon=True).start()
    return await done
