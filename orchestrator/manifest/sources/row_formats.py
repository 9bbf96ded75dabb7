"""Rows of list files: (line, columns). One function per format, in constant memory."""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.wording import counted, quoted
from orchestrator.manifest.diagnostics import FILE_LENGTH
from orchestrator.manifest.schema.inputs import STDIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BufferedReader

    _Readable = BufferedReader | gzip.GzipFile

Row = tuple[int, dict[str, str] | str]
"""Line (from 1) and columns, or line and a fault message."""

MAX_LINE_BYTES = 1024 * 1024
"""Longest line: an object name has at most 850 bytes, and a row a few more columns."""
_ENDINGS = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_MISSING = "The list file does not exist. Paths are relative to the manifest."
_GZIP_MAGIC = b"\x1f\x8b"


class ListUnreadable(Exception):
    """The list file cannot be read further, from ``line`` on; 0 if the line is unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def format_of(name: str) -> str | None:
    """Return the format for the extension of a file name, without ``.gz``, or None."""
    if name == STDIN:
        return "txt"
    return _ENDINGS.get(Path(name.lower().removesuffix(".gz")).suffix)


def unknown_format(name: str) -> str:
    """Return the message for a file name whose extension is not a known format."""
    known = "txt, csv, tsv, jsonl or parquet"
    return (
        f"The extension of {quoted(name, FILE_LENGTH)} is not a known format. Add format: {known}."
    )


def rows(file: Path | None, kind: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """Yield the rows of a list file.

    Args:
        file: The file; None is standard input.
        kind: ``txt``, ``csv``, ``tsv``, ``jsonl`` or ``parquet``.
        columns: Names of the columns of a csv or tsv file without a header line.

    Raises:
        ListUnreadable: If it cannot be opened or read further.
    """
    if kind == "parquet":
        yield from _parquet(file)
        return
    with ExitStack() as stack:
        try:
            lines = _lines(_opened(file, stack))
            if kind == "txt":
                yield from _txt(lines)
            elif kind == "jsonl":
                yield from _jsonl(lines)
            else:
                yield from _separated(lines, "\t" if kind == "tsv" else ",", columns)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            message = f"The gzip data is damaged or cut off ({error}). Create the file again."
            raise ListUnreadable(message) from error
        except OSError as error:
            raise ListUnreadable(f"Reading failed: {error.strerror or error}.") from error


def _opened(file: Path | None, stack: ExitStack) -> _Readable:
    if file is None:
        # Always a BufferedReader, except in tests.
        stream: BufferedReader = sys.stdin.buffer  # type: ignore[assignment]
    else:
        try:
            stream = stack.enter_context(file.open("rb"))
        except FileNotFoundError as error:
            raise ListUnreadable(_MISSING) from error
        except OSError as error:
            message = f"The list file cannot be read ({error.strerror or error})."
            raise ListUnreadable(message) from error
    if not stream.peek(2).startswith(_GZIP_MAGIC):
        return stream
    return stack.enter_context(gzip.GzipFile(fileobj=stream, mode="rb"))


def _lines(stream: _Readable) -> Iterator[str]:
    """Yield decoded lines with their line ends, without a byte order mark."""
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(raw) == MAX_LINE_BYTES and raw[-1:] != b"\n":
            message = f"The line is longer than {MAX_LINE_BYTES // 1024} KiB."
            raise ListUnreadable(f"{message} Check that the file has one object per line.", number)
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            message = f"Byte 0x{raw[error.start]:02x} at column {error.start + 1} is not UTF-8."
            raise ListUnreadable(f"{message} Save the file as UTF-8.", number) from error
        yield line.removeprefix("\ufeff") if number == 1 else line


def _txt(lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if not text or text.isspace():
            continue
        if text[0].isspace() or text[-1].isspace():
            message = f"{quoted(text)} begins or ends with a space. Remove the space, or use a"
            yield number, f"{message} jsonl list if it is part of the object name."
        else:
            yield number, {"object": text}


def _separated(
    lines: Iterator[str], separator: str, columns: Sequence[str] | None
) -> Iterator[Row]:
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        names = list(columns) if columns else _header(next(reader, []))
        width = len(names)
        for cells in reader:
            if len(cells) == width:
                yield reader.line_num, dict(zip(names, cells, strict=True))
            elif cells:
                found, expected = counted(len(cells), "cell"), counted(width, "column")
                message = f"{found}, but {expected} ({', '.join(names)})."
                hint = "Put quotes around a cell that contains the separator."
                yield reader.line_num, f"{message} {hint}"
    except csv.Error as error:
        message = f"This is not a table: {error}. Look for a quote that is not closed."
        raise ListUnreadable(message, reader.line_num) from error


def _header(cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ListUnreadable(f"The header has the column {quoted(twice[0])} twice.", 1)
    if names and not all(names):
        raise ListUnreadable("A column of the header has no name.", 1)
    return names


def _jsonl(lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            value = orjson.loads(line.rstrip())
        except orjson.JSONDecodeError as error:
            message = f"This is not JSON: {error.msg} at column {error.colno}."
            yield number, f"{message} Write one JSON object per line."
            continue
        if isinstance(value, str):
            yield number, {"object": value}
        elif isinstance(value, dict):
            yield number, _texts(value)
        else:
            message = 'Expected an object ({"object": "input/a.mp3"}) or a string, not'
            yield number, f"{message} {quoted(line.strip())}."


def _texts(value: dict[str, Any]) -> dict[str, str]:
    """Return the simple values of an object as text, without nested values and nulls."""
    row = {}
    for name, inner in value.items():
        if isinstance(inner, str):
            row[name] = inner
        elif isinstance(inner, bool):
            row[name] = "true" if inner else "false"
        elif isinstance(inner, int):
            row[name] = str(inner)
        elif isinstance(inner, float):
            row[name] = repr(inner)
    return row


def _parquet(file: Path | None) -> Iterator[Row]:
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
        number = 0
        with parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=2000):
                for value in batch.to_pylist():
                    number += 1
                    yield number, _texts({name: _plain(inner) for name, inner in value.items()})
    except FileNotFoundError as error:
        raise ListUnreadable(_MISSING) from error
    except (OSError, pa.ArrowException) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ListUnreadable(f"The parquet file cannot be read: {first}") from error


def _plain(value: Any) -> Any:
    """Return dates and decimals as text."""
    if value is None or isinstance(value, str | bool | int | float | dict | list | bytes):
        return value
    return str(value)
