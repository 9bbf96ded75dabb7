"""Media objects from list files. Every fault has the file and the line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.spec import MediaObject
from orchestrator.domain.wording import listed, nearest_word, quoted
from orchestrator.errors import Fault
from orchestrator.manifest.schema.inputs import STDIN
from orchestrator.manifest.sources.item import Source, SourceItem
from orchestrator.manifest.sources.row_formats import (
    ListUnreadable,
    format_of,
    rows,
    unknown_format,
)
from orchestrator.manifest.template import Template, TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from orchestrator.manifest.diagnostics import FaultList
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.schema.inputs import ListInput

_WRONG = -1.0
_LEVELS = {"0": 0, "1": 1, "2": 2}


class ListReader:
    """Reads one list source.

    Args:
        manifest: The manifest.
        index: Number of the source.
        settings: The source in the manifest.
        faults: Collects faults; rows with faults are left out.
    """

    def __init__(
        self, manifest: Manifest, index: int, settings: ListInput, faults: FaultList
    ) -> None:
        self.source = Source(manifest, index)
        self.faults = faults
        self.manifest = manifest
        name = self.source.text(settings.list)
        folder = manifest.files.folder_of(self.source.path)
        self.file: Path | None = None if name == STDIN else folder / name
        self.shown = "standard input" if self.file is None else str(self.file)
        self.kind = settings.format or format_of(name)
        self.columns = settings.columns
        self._template = (
            Template(settings.object).fill(manifest.params) if settings.object else None
        )
        self._filter = self.source.filter(settings)
        self._label = f"inputs[{index}]"
        place = (self.source.bucket, self.source.region)
        self._good_places = {place} if all(place) else set()

    def batches(self, size: int) -> Iterator[list[SourceItem]]:
        """Yield the objects of the list, ``size`` rows at a time."""
        if self.kind is None:
            self._source_fault(unknown_format(self.shown), "list")
            return
        batch: list[SourceItem] = []
        count = 0
        try:
            for line, row in rows(self.file, self.kind, self.columns):
                if count == 0 and not isinstance(row, str) and not self._has_object(row):
                    return
                count += 1
                if isinstance(row, str):
                    self._fault(line, row)
                elif (item := self._item(row, line, count)) is not None:
                    batch.append(item)
                if len(batch) >= size or (not batch and count % size == 0):
                    yield batch
                    batch = []
        except ListUnreadable as error:
            if error.line:
                self._fault(error.line, error.message)
            else:
                self._source_fault(f"{self.shown}: {error.message}", "list")
        if batch:
            yield batch

    def _has_object(self, row: Mapping[str, str]) -> bool:
        """Check that the first row has the columns of the object name.

        A list without them has one fault, not a million.
        """
        if self._template is None and "object" not in row:
            example = next(iter(row), "path")
            message = f"{self.shown} has no column object, but {listed(row, 'and')}."
            message = f'{message} Set the column to use: object: "{{{example}}}".'
            self._source_fault(message, "list", nearest_word("object", row))
            return False
        if self._template is not None and self.kind != "jsonl":
            try:
                self._template.check(row)
            except TemplateError as error:
                self._source_fault(error.message, "object", error.hint)
                return False
        return True

    def _source_fault(self, message: str, setting: str, hint: str = "") -> None:
        self.faults.add(self.manifest.fault(message, (*self.source.path, setting), hint))

    def _fault(self, line: int, message: str, hint: str = "") -> None:
        self.faults.add(Fault(message, self.shown, line, path=self._label, hint=hint))

    def _item(self, row: dict[str, str], line: int, index: int) -> SourceItem | None:
        key = self._key(row, line)
        if key is None or not self._filter.takes(key):
            return None
        level: int | None = None
        if text := row.get("level"):
            level = _LEVELS.get(text.strip())
            if level is None:
                message = (
                    f"The level {quoted(text)} is out of range: 0, 1 or 2 (larger goes first)."
                )
                self._fault(line, message)
                return None
        media = self._media(key, row, line)
        if media is None:
            return None
        user_data = row.get("user_data") or None
        return SourceItem(media, self.source.index, index, self.shown, line, row, level, user_data)

    def _key(self, row: Mapping[str, str], line: int) -> str | None:
        if self._template is None:
            key = row.get("object")
            if key is None:
                message = f"This row has no object, but {listed(row, 'and') or 'nothing'}."
                self._fault(line, message, nearest_word("object", row))
            elif not key:
                self._fault(line, "The column object is empty.")
            return key or None
        try:
            return self._template.render(row)
        except TemplateError as error:
            self._fault(line, error.message, error.hint)
            return None

    def _media(self, key: str, row: Mapping[str, str], line: int) -> MediaObject | None:
        bucket = row.get("bucket") or self.source.bucket
        region = row.get("region") or self.source.region
        if (bucket, region) not in self._good_places:
            if problem := self.source.place_problem(bucket, region):
                self._fault(line, *problem)
                return None
            self._good_places.add((bucket, region))
        size = self._number(row, "size_bytes", line)
        duration = self._number(row, "duration_s", line)
        if _WRONG in {size, duration}:
            return None
        etag = (row.get("etag") or "").strip().strip('"')
        size_bytes = None if size is None else int(size)
        return MediaObject(bucket, region, key, etag, size_bytes, duration)

    def _number(self, row: Mapping[str, str], name: str, line: int) -> float | None:
        text = row.get(name)
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            number = _WRONG
        if not 0 <= number < 1e18:
            self._fault(line, f"The column {name} is {quoted(text)}; it must be a number >= 0.")
            return _WRONG
        return number
