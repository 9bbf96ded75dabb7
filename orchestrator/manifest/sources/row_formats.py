"""List files as rows: (line, columns). One function per format; the file is never in memory as a whole."""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.wording import quoted
from orchestrator.manifest.schema.inputs import STDIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import BufferedReader

    _Readable = BufferedReader | gzip.GzipFile

Row = tuple[int, dict[str, str] | str]
"""Line (from 1) and columns; or line and what is wrong with it."""

MAX_LINE_BYTES = 1024 * 1024
"""Longest line: object names have at most 850 bytes, and a row some columns more."""
_ENDINGS = {
    ".txt": "txt",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_GZIP_MAGIC = b"\x1f\x8b"


class ListUnreadable(Exception):
    """The list file cannot be read (further): ``line`` says where, 0 if at no line."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


def format_of(name: str) -> str | None:
    """The format that a file's name tells, or None. A last ``.gz`` is looked through."""
    if name == STDIN:
        return "txt"
    path = Path(name.lower().removesuffix(".gz"))
    return _ENDINGS.get(path.suffix)


def rows(file: Path | None, kind: str, columns: Sequence[str] | None = None) -> Iterator[Row]:
    """The rows of a list file.

    Args:
        file: The file; None is standard input.
        kind: ``txt``, ``csv``, ``tsv``, ``jsonl`` or ``parquet``.
        columns: Names of the columns, if the file has no header line (csv and tsv).

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
            raise ListUnreadable(
                f"The gzip data is damaged or cut off ({error}). Make the file again."
            ) from error
        except OSError as error:
            raise ListUnreadable(f"Reading failed: {error.strerror or error}.") from error


def _opened(file: Path | None, stack: ExitStack) -> _Readable:
    if file is None:
        stream: BufferedReader = sys.stdin.buffer  # type: ignore[assignment]  # it is one, unless a test put another thing there
    else:
        try:
            stream = stack.enter_context(file.open("rb"))
        except OSError as error:
            reason = (
                "does not exist"
                if isinstance(error, FileNotFoundError)
                else f"cannot be read ({error.strerror or error})"
            )
            raise ListUnreadable(
                f"The list file {reason}. Paths are relative to the manifest."
            ) from error
    if not stream.peek(2).startswith(_GZIP_MAGIC):
        return stream
    return stack.enter_context(gzip.GzipFile(fileobj=stream, mode="rb"))


def _lines(stream: _Readable) -> Iterator[str]:
    """Decoded lines, with their ends; a byte order mark is dropped."""
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES):
        number += 1
        if len(raw) == MAX_LINE_BYTES and raw[-1:] != b"\n":
            raise ListUnreadable(
                f"The line is longer than {MAX_LINE_BYTES // 1024} KiB. Is this a list of objects, one per line?",
                number,
            )
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            message = f"Byte 0x{raw[error.start]:02x} at column {error.start + 1} is not UTF-8. Save the file with the encoding UTF-8."
            raise ListUnreadable(message, number) from error
        yield line.removeprefix("\ufeff") if number == 1 else line


def _txt(lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        if not text or text.isspace():
            continue
        if text[0].isspace() or text[-1].isspace():
            yield (
                number,
                f"{quoted(text)} begins or ends with a blank. Remove it (a jsonl list can name an object that really has one).",
            )
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
                text = f"{len(cells)} cells, but {width} columns ({', '.join(names)}). Put quotes around a cell that holds the separator."
                yield reader.line_num, text
    except csv.Error as error:
        message = f"This is not a table of cells: {error}. Look for a quote that is never closed."
        raise ListUnreadable(message, reader.line_num) from error


def _header(cells: Sequence[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ListUnreadable(f"The column {quoted(twice[0])} stands twice in the header.", 1)
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
            yield (
                number,
                f"This is not JSON: {error.msg} at column {error.colno}. Each line is an object of its own.",
            )
            continue
        if isinstance(value, str):
            yield number, {"object": value}
        elif isinstance(value, dict):
            yield number, _texts(value)
        else:
            yield (
                number,
                f'A line is an object ({{"object": "input/a.mp3"}}) or a text, not {quoted(line.strip())}.',
            )


def _texts(value: dict[str, Any]) -> dict[str, str]:
    """The simple values of an object, as text; nested ones and nulls cannot stand in a name and are left out."""
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
        message = "Reading parquet needs an extra: pip install 'voiceseparate-orchestrator[parquet]'. (Or make a csv of it.)"
        raise ListUnreadable(message) from error
    try:
        number = 0
        with parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=2000):
                for value in batch.to_pylist():
                    number += 1
                    yield number, _texts({name: _plain(inner) for name, inner in value.items()})
    except FileNotFoundError as error:
        raise ListUnreadable(
            "The list file does not exist. Paths are relative to the manifest."
        ) from error
    except (OSError, pa.ArrowException) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ListUnreadable(f"The parquet file cannot be read: {first}") from error


def _plain(value: Any) -> Any:
    """Dates and decimals as text."""
    if value is None or isinstance(value, str | bool | int | float | dict | list | bytes):
        return value
    return str(value)
