"""Items of sources: a media object, the place that names it, and its row."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.domain.remote import SkipReason
from orchestrator.domain.wording import counted, listed, quoted
from orchestrator.manifest.manifest import LocalServiceSettings
from orchestrator.manifest.schema.job_settings import Problem, region_problem
from orchestrator.manifest.sources.address import AddressRefused, address_of, is_address
from orchestrator.manifest.sources.globs import Filter
from orchestrator.manifest.template import Template

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orchestrator.domain.spec import MediaObject
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.schema.inputs import Filters, SourceSettings
    from orchestrator.manifest.sources.address import Address

_EXAMPLES = 3
_OTHER_CASE = "name that differs from include only in case"
_PLURALS = {
    _OTHER_CASE: "names that differ from include only in case",
    SkipReason.OTHER: "files that are not media",
    SkipReason.HIDDEN: "hidden files or folders",
    SkipReason.STEMS: "folders with stems of an earlier run",
    SkipReason.LINK: "symbolic links",
    SkipReason.SPECIAL: "devices, pipes or sockets",
    SkipReason.NOT_UTF_8: "names that are not UTF-8",
    SkipReason.IMPOSSIBLE: "names that no request can carry",
    SkipReason.UNREADABLE: "files or folders that cannot be read",
}
NO_COLUMNS: Mapping[str, str] = MappingProxyType({})


class SourceItem(NamedTuple):
    """One object that a source names.

    Attributes:
        media: The object.
        source: Number of the source in ``inputs``, from 0.
        number: Number of the object in its source, from 1.
        file: File that names it: the manifest or a list file.
        line: Line there, from 1; 0 for a listed object.
        columns: Its row in a list file, by column.
        level: Level of its row or its own entry, or None; overrides every other level.
        user_data: User data of its row or its own entry, or None; overrides all other user data.
        problem: Fault of its row, which cannot be requested then, or None.
    """

    media: MediaObject
    source: int
    number: int
    file: str
    line: int = 0
    columns: Mapping[str, str] = NO_COLUMNS
    level: int | None = None
    user_data: str | None = None
    problem: Problem | None = None


def is_carried(name: str, value: object) -> bool:
    """Return True if a setting of a single object is kept in the item instead of its recipe."""
    return name == "level" or (
        name == "user_data" and isinstance(value, str) and "{" not in value and "}" not in value
    )


class Skipped:
    """Files of a source that are skipped, by reason."""

    def __init__(self) -> None:
        self.total = 0
        self._by_reason: dict[str, tuple[int, list[str]]] = {}

    def add(self, reason: str, name: str, number: int = 1) -> None:
        """Count files, of which one is named."""
        self.total += number
        known, examples = self._by_reason.get(reason, (0, []))
        kept = examples if len(examples) >= _EXAMPLES else [*examples, name]
        self._by_reason[reason] = (known + number, kept)

    def text(self) -> str:
        """Return the sentence about them: ``3 skipped: 3 symbolic links ("in/a", ...).``."""
        parts = []
        for reason, (number, examples) in self._by_reason.items():
            more = ", ..." if number > len(examples) else ""
            what = counted(number, reason, _PLURALS[reason])
            parts.append(f"{what} ({', '.join(map(quoted, examples))}{more})")
        return f"{self.total:,} skipped: {listed(parts, 'and')}."


class Source:
    """One entry of ``inputs``, with params filled in.

    Args:
        manifest: The manifest.
        index: Number of the entry.

    Raises:
        TemplateError: If its text cannot be filled in.
    """

    def __init__(self, manifest: Manifest, index: int) -> None:
        self.manifest = manifest
        self.index = index
        self.path = ("inputs", index)
        self.settings: SourceSettings = manifest.inputs[index]
        self.params = manifest.params
        self.bucket = self.text(self.settings.bucket) or manifest.bucket
        self.region = self.text(self.settings.region) or manifest.region

    def text(self, text: str | None) -> str:
        """Return text of the manifest with params filled in."""
        if not text or not ("{" in text or "}" in text):
            return text or ""
        template = Template(text)
        template.check(self.params)
        return template.render(self.params)

    def filter(self, settings: Filters) -> Filter:
        """Return its include and exclude globs as a filter."""
        return Filter(
            [self.text(glob) for glob in settings.include],
            [self.text(glob) for glob in settings.exclude],
        )

    def resolved(self, name: str) -> tuple[str, str, str]:
        """Return bucket, region and key of a name, which may be an address.

        Raises:
            AddressRefused: If the address is not understood, or contradicts this source.
        """
        if not is_address(name):
            return self.bucket, self.region, name
        address = address_of(name)
        if self.settings.bucket and address.bucket != self.bucket:
            raise AddressRefused(
                f"The address is in the bucket {address.bucket}, but bucket: is {self.bucket} "
                f"here. Remove one of them. The name of the object is {quoted(address.key)}."
            )
        return (*self.place_of(address), address.key)

    def place_of(self, address: Address, region: str = "") -> tuple[str, str]:
        """Return bucket and region of an address in this source.

        Args:
            address: The address, which may leave the region open.
            region: The region that its row names, or empty.

        Raises:
            AddressRefused: If it contradicts the region of this source's bucket.
        """
        known = region or self.region
        is_local = isinstance(self.manifest.service, LocalServiceSettings)
        if address.region and address.region != known and not is_local:
            if known and address.bucket == self.bucket:
                raise AddressRefused(
                    f"The address has the region {address.region}, but the region of "
                    f"{address.bucket} is {known} here. Correct one of them. "
                    f"The name of the object is {quoted(address.key)}."
                )
            known = address.region
        return address.bucket, known

    def filter_remarks(self, used: Filter, skipped: Skipped | None = None) -> list[str]:
        """Return the remarks on a filter of this source, after all objects were read.

        Args:
            used: The filter.
            skipped: Files that are not objects, or None.
        """
        remarks = [
            str(self.manifest.fault(text, (*self.path, side))) for side, text in used.unmatched()
        ]
        found = skipped or Skipped()
        number, example = used.near
        if number:
            found.add(_OTHER_CASE, example, number)
        if found.total:
            remarks.append(str(self.manifest.fault(found.text(), self.path)))
        return remarks

    def place_problem(self, bucket: str, region: str) -> Problem | None:
        """Return what is wrong with a bucket and its region."""
        for name, value in (("bucket", bucket), ("region", region)):
            if not value:
                return Problem(
                    f"No {name}: set it in the manifest, in this source, or in a column {name}."
                )
        return self.manifest.bucket_problem(bucket) or region_problem(region)
