"""Inputs that a listing will show later: a job sent before must not write its stems over them.

The planner refuses a job whose stems take the place of an object that it has seen. An object that
comes in a later page is not seen yet. So before a batch is sent, each name of a stem that a source
of the manifest would list is looked for in the storage. In most manifests no stem has such a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.audio_formats import extension
from orchestrator.domain.wording import quoted
from orchestrator.errors import BucketRefused, Fault
from orchestrator.manifest.local_buckets import ObjectPlaces
from orchestrator.manifest.planning.planner import SEPARATE
from orchestrator.manifest.schema.inputs import FolderInput, PrefixInput
from orchestrator.manifest.sources.folder import FolderListing
from orchestrator.manifest.sources.prefix import PrefixListing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.ports import Clock, ObjectStore
    from orchestrator.domain.spec import JobSpec
    from orchestrator.manifest.manifest import Manifest


class _Listed(NamedTuple):
    """A source that is listed, and where it begins.

    Attributes:
        listing: The source.
        bucket: What identifies its bucket among all places.
        start: Place of its objects, without their keys.
    """

    listing: PrefixListing
    bucket: str
    start: str


class InputsAhead:
    """Looks for inputs under the names of stems.

    Args:
        manifest: The manifest.
        store: Storage of the inputs.
        clock: Clock for the ages of objects.
    """

    def __init__(self, manifest: Manifest, store: ObjectStore, clock: Clock) -> None:
        self._store = store
        self._places = places = ObjectPlaces(manifest)
        self._listed: list[_Listed] = []
        for index, settings in enumerate(manifest.inputs):
            listing: PrefixListing
            if isinstance(settings, FolderInput):
                listing = FolderListing(manifest, index, settings, store, clock)
            elif isinstance(settings, PrefixInput):
                listing = PrefixListing(manifest, index, settings, store, clock)
            else:
                continue
            self._listed.append(_Listed(listing, *places.of(listing.place.bucket, "")))

    @property
    def is_needed(self) -> bool:
        """True if a source is listed."""
        return bool(self._listed)

    async def fault(self, spec: JobSpec) -> Fault | None:
        """Return why this job would overwrite an input, or None if it would not.

        Raises:
            OrchestratorError: If the storage cannot be read.
        """
        for name in _written(spec):
            for listing, key in self._lists(spec.output.bucket, name):
                if await self._is_input(listing, key):
                    origin = spec.origin
                    label = f"inputs[{listing.source.index}]"
                    message = (
                        f"The job of {quoted(spec.media.key)} would overwrite {quoted(name)}, "
                        f"which is an input itself ({label}). {SEPARATE}, and exclude that prefix "
                        "from the inputs."
                    )
                    return Fault(message, origin.file, origin.line, path=origin.source)
        return None

    async def _is_input(self, listing: PrefixListing, key: str) -> bool:
        try:
            page = await self._store.list_objects(listing.place, key, "", 1)
        except BucketRefused:
            return False  # then its objects cannot become inputs
        return any(each.key == key and listing.wants(each) for each in page.objects)

    def _lists(self, bucket: str, name: str) -> Iterator[tuple[PrefixListing, str]]:
        """Yield the sources that would list a stem, and its key there."""
        at, place = self._places.of(bucket, name)
        for listing, own, start in self._listed:
            if at == own and place.startswith(start):
                key = place[len(start) :]
                if key.startswith(listing.prefix) and listing.may_want(key):
                    yield listing, key


def _written(spec: JobSpec) -> Iterator[str]:
    """Yield the names that a job writes, as far as they are known before it ran."""
    for name in spec.output.names().values():
        if "${" not in name:
            yield name
        elif "${jobid}" not in name and not spec.operation.template_id:
            yield name.replace("${ext}", extension(spec.operation.audio.codec))
