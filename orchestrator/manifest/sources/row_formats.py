"""Rows of list files: (line, columns). One function per format, in constant memory."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.wording import counted, listed, quoted
from orchestrator.manifest.diagnostics import FILE_LENGTH
from orchestrator.manifest.schema.inputs import STDIN
from orchestrator.manifest.sources.csv_rows import CsvRows, check_columns, separator_name
from orchestrator.manifest.sources.foreign_content import (
    HEAD_BYTES,
    PARQUET,
    by_content,
    by_extension,
    json_document,
    refusal,
)
from orchestrator.manifest.sources.list_text import MISSING, ListUnreadable, opened

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from orchestrator.manifest.sources.csv_rows import Row
    from orchestrator.manifest.sources.list_text import ListText

_ENDINGS = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


def format_of(name: str) -> str | None:
    """Return the format for the extension of a file name, without ``.gz``, or None."""
    if name == STDIN:
        return "txt"
    return _ENDINGS.get(Path(name.lower().removesuffix(".gz")).suffix)


def unknown_format(name: str) -> str:
    """Return the message for a file name whose extension is not a known format."""
    shown = quoted(name, FILE_LENGTH)
    if (kind := by_extension(name)) is not None:
        return refusal(kind, shown, name)
    known = "txt, csv, tsv, jsonl or parquet"
    return f"The extension of {shown} is not a known format. Add format: {known}."


class ListRows:
    """Rows of one list file.

    Args:
        file: The file; None is standard input.
        kind: ``txt``, ``csv``, ``tsv``, ``jsonl`` or ``parquet``.
        columns: Names of the columns of a csv or tsv file without a header line.
        wanted: Names of columns that the manifest uses.
    """

    def __init__(
        self,
        file: Path | None,
        kind: str,
        columns: Sequence[str] | None = None,
        wanted: Collection[str] = (),
    ) -> None:
        self._file = file
        self._kind = kind
        self._columns = columns
        self._wanted = wanted
        self._text: ListText | None = None
        self._table: CsvRows | None = None

    def __iter__(self) -> Iterator[Row]:
        """Yield the rows.

        Raises:
            ListUnreadable: If it cannot be opened or read further.
        """
        if self._kind == "parquet":
            yield from _parquet(self._file, self._wanted)
            return
        with opened(self._file) as text:
            self._text = text
            if self._kind == "txt":
                yield from _txt(text)
            elif self._kind == "jsonl":
                yield from _jsonl(text, self._file, self._wanted)
            else:
                usual = "\t" if self._kind == "tsv" else ","
                self._table = CsvRows(text, usual, self._columns, self._wanted)
                yield from self._table

    @property
    def has_decimal_commas(self) -> bool:
        """True if a comma in a number is its decimal point, because it separates no columns."""
        return self._table is not None and self._table.separator != ","

    def dialect(self) -> str:
        """Return what is unusual about the file, as far as it was read; empty if nothing is."""
        text, table, found = self._text, self._table, []
        if table is not None:
            named = " (named by its line sep=)" if table.has_sep_line else ""
            is_usual = table.separator == ("\t" if self._kind == "tsv" else ",")
            if named or not is_usual:
                found.append(f"{separator_name(table.separator)} between the columns{named}")
        if text is not None and text.encoding != "UTF-8":
            found.append(text.encoding)
        if text is not None and text.is_cr_only:
            found.append("lines that end in CR")
        if table is not None and table.empty_rows:
            found.append(f"{counted(table.empty_rows, 'empty row')} skipped")
        return listed(found, "and")


def _txt(text: ListText) -> Iterator[Row]:
    for number, line in enumerate(text, 1):
        name = line.rstrip("\r\n")
        if text.wrong:
            yield number, text.wrong
            text.wrong = ""
        elif not name or name.isspace():
            continue
        elif name[0].isspace() or name[-1].isspace():
            message = f"{quoted(name)} begins or ends with a space. Remove the space, or use a"
            yield number, f"{message} jsonl list if it is part of the object name."
        else:
            yield number, {"object": name}


def _jsonl(text: ListText, file: Path | None, wanted: Collection[str]) -> Iterator[Row]:
    is_first = True
    for number, line in enumerate(text, 1):
        if line.isspace():
            continue
        if is_first and (kind := json_document(line)) is not None:
            raise ListUnreadable(refusal(kind, "It", None if file is None else str(file)))
        is_first = False
        if text.wrong:
            yield number, text.wrong
            text.wrong = ""
            continue
        try:
            value = _json(line.strip())
        except orjson.JSONDecodeError as error:
            message = f"This is not JSON: {error.msg} at column {error.colno}."
            yield number, f"{message} Write one JSON object per line."
            continue
        if isinstance(value, str):
            yield number, {"object": value}
        elif isinstance(value, dict):
            yield number, _texts(value, wanted)
        else:
            message = 'Expected an object ({"object": "input/a.mp3"}) or a string, not'
            yield number, f"{message} {quoted(line.strip())}."


def _json(line: str) -> Any:
    """Return the value of a line. NaN, which is not JSON but is often written, means null."""
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        if "NaN" not in line:
            raise
        try:
            return json.loads(line, parse_constant=lambda name: None if name == "NaN" else name)
        except ValueError:
            return orjson.loads(line)


def _texts(value: dict[str, Any], wanted: Collection[str]) -> dict[str, str] | str:
    """Return the simple values of a row as text; null and NaN are empty.

    Nested values are left out; one that the manifest uses is a fault.
    """
    row = {}
    for name, inner in value.items():
        if isinstance(inner, str):
            row[name] = inner
        elif inner is None:
            row[name] = ""
        elif isinstance(inner, bool):
            row[name] = "true" if inner else "false"
        elif isinstance(inner, int):
            row[name] = str(inner)
        elif isinstance(inner, float):
            row[name] = "" if math.isnan(inner) else repr(inner)
        elif name in wanted:
            kind = "an object" if isinstance(inner, dict) else "a list"
            return f"The column {name} has {kind}. Write text, a number, true, false or null."
    return row


def _parquet(file: Path | None, wanted: Collection[str]) -> Iterator[Row]:
    if file is None:
        raise ListUnreadable("A parquet file cannot be read from standard input. Name the file.")
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ListUnreadable(
            "To read parquet, install an extra: "
            "pip install 'voiceseparate-orchestrator[parquet]'. Or convert the file to csv."
        ) from error
    try:
        with file.open("rb") as start:
            head = start.read(HEAD_BYTES)
        if not head.startswith(PARQUET) and (kind := by_content(head)) is not None:
            raise ListUnreadable(refusal(kind, "It", str(file)))
        number = 0
        with parquet.ParquetFile(file) as table:
            check_columns(table.schema_arrow.names, wanted)
            for batch in table.iter_batches(batch_size=2000):
                for value in batch.to_pylist():
                    number += 1
                    yield number, _parquet_row(value, wanted)
    except FileNotFoundError as error:
        raise ListUnreadable(MISSING) from error
    except (OSError, pa.ArrowException) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ListUnreadable(f"The parquet file cannot be read: {first}") from error


def _parquet_row(value: dict[str, Any], wanted: Collection[str]) -> dict[str, str] | str:
    """Return a row as text: bytes are text if they are UTF-8; other bytes hurt only if needed."""
    for name, inner in value.items():
        if isinstance(inner, bytes):
            try:
                value[name] = inner.decode()
            except UnicodeDecodeError as error:
                if name in wanted:
                    byte = f"Byte 0x{inner[error.start]:02x} at position {error.start + 1}"
                    return f"{byte} of the column {name} is not UTF-8."
                value[name] = None
        elif inner is not None and not isinstance(inner, str | bool | int | float | dict | list):
            value[name] = str(inner)  # dates, decimals
    return _texts(value, wanted)
