"""Media objects from list files. Every fault has the file and the line."""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from orchestrator.domain import value_formats
from orchestrator.domain.spec import MediaObject
from orchestrator.domain.wording import listed, nearest_word, printable, quoted
from orchestrator.errors import Fault
from orchestrator.manifest.schema.inputs import STDIN
from orchestrator.manifest.schema.job_settings import Problem
from orchestrator.manifest.sources.address import (
    AddressRefused,
    address_of,
    is_address,
    without_secrets,
)
from orchestrator.manifest.sources.item import Source, SourceItem
from orchestrator.manifest.sources.list_text import ListUnreadable
from orchestrator.manifest.sources.row_formats import ListRows, format_of, unknown_format
from orchestrator.manifest.template import Template, TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from orchestrator.manifest.diagnostics import FaultList
    from orchestrator.manifest.manifest import Manifest
    from orchestrator.manifest.schema.inputs import ListInput
    from orchestrator.manifest.schema.job_settings import JobSettings, VariantSettings
    from orchestrator.manifest.sources.address import Address
    from orchestrator.manifest.sources.csv_rows import Row


MEANT_COLUMNS: Final = (
    "object", "bucket", "region", "level", "user_data", "etag", "duration_s", "size_bytes",
)  # fmt: skip
"""Columns that every list may have."""
_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)")


def columns_used(manifest: Manifest, index: int) -> set[str]:
    """Return the names that the templates and rules use which concern a list.

    Some of them are params or parts of an object's name.
    """
    source = manifest.inputs[index]
    texts = [getattr(source, "object", None) or ""]
    used: set[str] = set()
    for rule in manifest.rules:
        used.update(rule.when.column or ())
    for settings in (manifest.defaults, source, *manifest.rules):
        texts += _texts(settings)
    for text in texts:
        used.update(_FIELD.findall(text))
    return used


def _texts(settings: JobSettings) -> Iterator[str]:
    variants: tuple[VariantSettings, ...] = tuple((settings.matrix or {}).values())
    for each in (settings, *variants):
        output = each.output
        if output is not None:
            yield from filter(None, (output.voice, output.background, output.bass, output.drums))
        if each.user_data:
            yield each.user_data


_LEVELS = {"0": 0, "1": 1, "2": 2}
_ABSENT = frozenset({"", "nan", "nat", "na", "n/a", "<na>", "none", "null"})
"""Words that programs write for an absent value, in lower case. They count only where no text can
be meant: an object may be named null."""
_DECIMAL_COMMA = re.compile(r"-?[0-9]+,[0-9]+")
_PLACEHOLDER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Wrong(Exception):
    """A row is wrong."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.problem = Problem(message, hint)


class ListReader:
    """Reads one list source.

    Args:
        manifest: The manifest.
        index: Number of the source.
        settings: The source in the manifest.
        faults: Collects faults of the list. A wrong row is an item with a ``problem``.
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
        self.shown = "standard input" if self.file is None else printable(str(self.file))
        self.kind = settings.format or format_of(name)
        self._template = (
            Template(settings.object).fill(manifest.params) if settings.object else None
        )
        wanted = {*MEANT_COLUMNS, *columns_used(manifest, index)}
        self._rows = ListRows(self.file, self.kind or "", settings.columns, wanted)
        self._filter = self.source.filter(settings)
        self._label = f"inputs[{index}]"
        self._names: dict[str, str] = {}  # columns of a jsonl list that were seen, all empty
        place = (self.source.bucket, self.source.region)
        self._good_places = {place} if all(place) else set()

    def remarks(self) -> list[str]:
        """Return remarks on the form of the file and on filters, after it was read."""
        dialect = self._rows.dialect()
        form = [f"{self.shown} was read with {dialect}."] if dialect else []
        return form + self.source.filter_remarks(self._filter)

    def batches(self, size: int) -> Iterator[list[SourceItem]]:
        """Yield the objects of the list, ``size`` rows at a time."""
        if self.kind is None:
            self._source_fault(unknown_format(self.shown), "list")
            return
        rows = self._until_unreadable()
        count = 0
        while block := list(islice(rows, size)):
            if self.kind == "jsonl":
                self._names.update(
                    (name, "") for _, row in block if isinstance(row, dict) for name in row
                )
            if not count and not self._has_object(block):
                return
            batch = []
            for line, row in block:
                count += 1
                item = self._item(row, line, count)
                if item is not None:
                    batch.append(item)
            yield batch

    def _until_unreadable(self) -> Iterator[Row]:
        try:
            yield from self._rows
        except ListUnreadable as error:
            if error.line:
                self.faults.add(Fault(error.message, self.shown, error.line, path=self._label))
            else:
                self._source_fault(f"{self.shown}: {error.message}", "list")

    def _has_object(self, block: Iterable[Row]) -> bool:
        """Check that the first rows have the columns of the object name.

        A list without them has one fault, not a million.
        """
        first = next((row for _, row in block if isinstance(row, dict)), None)
        if first is None:
            return True
        names = self._names or first
        if self._template is None and "object" not in names:
            has = listed(names, "and") or "nothing"
            message = f"{self.shown} has no column object, but {has}."
            example = next(iter(names), "path")
            action = (
                f'Set the column to use: object: "{{{example}}}".'
                if _PLACEHOLDER.fullmatch(example)
                else "Name the column with the names of the objects: object."
            )
            self._source_fault(f"{message} {action}", "list", nearest_word("object", names))
            return False
        if self._template is not None:
            try:
                self._template.check(names)
            except TemplateError as error:
                self._source_fault(error.message, "object", error.hint)
                return False
        return True

    def _source_fault(self, message: str, setting: str, hint: str = "") -> None:
        self.faults.add(self.manifest.fault(message, (*self.source.path, setting), hint))

    # --- one row

    def _item(self, row: dict[str, str] | str, line: int, number: int) -> SourceItem | None:
        """Return the object of a row, with a problem if the row is wrong; None if left out."""
        if isinstance(row, str):
            return self._wrong("", line, number, Problem(row))
        key = ""
        try:
            key = self._key(row)
            address = address_of(key) if is_address(key) else None
            if address is not None:
                key = address.key
            media = self._media(key, row, address)
            if not self._filter.takes(key, media.bucket):
                return None
            level = self._level(row.get("level"))
        except AddressRefused as error:
            return self._wrong(without_secrets(key), line, number, Problem(error.message))
        except _Wrong as wrong:
            is_left_out = bool(key) and not self._filter.takes(key, self.source.bucket)
            return None if is_left_out else self._wrong(key, line, number, wrong.problem)
        if len(row) < len(self._names):
            row = {**self._names, **row}
        user_data = row.get("user_data") or None
        return SourceItem(media, self.source.index, number, self.shown, line, row, level, user_data)

    def _wrong(self, key: str, line: int, number: int, problem: Problem) -> SourceItem:
        media = MediaObject(self.source.bucket, self.source.region, key)
        return SourceItem(media, self.source.index, number, self.shown, line, problem=problem)

    def _key(self, row: Mapping[str, str]) -> str:
        if self._template is None:
            key = row.get("object")
            if key is None:
                message = f"This row has no object, but {listed(row, 'and') or 'nothing'}."
                raise _Wrong(message, nearest_word("object", row))
            if not key:
                raise _Wrong("The column object is empty.")
            return key
        try:
            return self._template.render({**self._names, **row} if self._names else row)
        except TemplateError as error:
            raise _Wrong(error.message, error.hint) from error

    def _level(self, text: str | None) -> int | None:
        if not text:
            return None
        level = _LEVELS.get(text.strip())
        if level is not None or _is_absent(text):
            return level
        level = value_formats.whole_number(self._with_point(text))
        if level not in {0, 1, 2}:
            raise _Wrong(
                f"The level {quoted(text)} is out of range: 0, 1 or 2 (larger goes first)."
            )
        return level

    def _media(self, key: str, row: Mapping[str, str], address: Address | None) -> MediaObject:
        bucket = row.get("bucket") or self.source.bucket
        region = row.get("region") or self.source.region
        if address is not None:
            bucket, region = self._place_of(address, row)
        if (bucket, region) not in self._good_places:
            bucket = self.source.bucket if _is_absent(bucket) else bucket.strip()
            region = self.source.region if _is_absent(region) else region.strip()
            if problem := self.source.place_problem(bucket, region):
                raise _Wrong(*problem)
            self._good_places.add((bucket, region))
        size = self._number(row, "size_bytes")
        if size is not None and not size.is_integer():
            raise _Wrong(f"The column size_bytes is {size}; it must be a whole number >= 0.")
        duration = self._number(row, "duration_s")
        etag = (row.get("etag") or "").strip().strip('"')
        if etag and _is_absent(etag):
            etag = ""
        size_bytes = None if size is None else int(size)
        return MediaObject(bucket, region, key, etag, size_bytes, duration)

    def _place_of(self, address: Address, row: Mapping[str, str]) -> tuple[str, str]:
        """Return bucket and region of an address, which the columns must not contradict."""
        for name, meant in (("bucket", address.bucket), ("region", address.region)):
            written = (row.get(name) or "").strip()
            if meant and written != meant and not _is_absent(written):
                message = f"The address is in the {name} {meant}, and the column {name} is"
                raise _Wrong(f"{message} {quoted(written)}. Remove one of them.")
        try:
            return self.source.place_of(address, row.get("region") or "")
        except AddressRefused as error:
            raise _Wrong(error.message) from error

    def _number(self, row: Mapping[str, str], name: str) -> float | None:
        text = row.get(name)
        if not text:
            return None
        try:
            number = float(text)
        except ValueError:
            if _is_absent(text):
                return None
            read = value_formats.number(self._with_point(text))
            number = math.inf if read is None else read
        if math.isnan(number):
            return None
        if not 0 <= number < 1e18:
            raise _Wrong(f"The column {name} is {quoted(text)}; it must be a number >= 0.")
        return number

    def _with_point(self, text: str) -> str:
        """Return a number with a decimal point, if the file writes decimal commas."""
        bare = text.strip()
        if self._rows.has_decimal_commas and _DECIMAL_COMMA.fullmatch(bare):
            return bare.replace(",", ".")
        return bare


def _is_absent(text: str) -> bool:
    return text.strip().lower() in _ABSENT
