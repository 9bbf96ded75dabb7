"""Reports as CSV, Parquet and JSON lines, written as the rows come, in constant memory."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.domain.spec import Stem
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO


class Kind(StrEnum):
    """Type of a column."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    TRUTH = "truth"
    INSTANT = "instant"
    """In UTC, to the millisecond."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column.

    Attributes:
        name: Its name in the table.
        kind: Its type.
        path: Where its value is in a row.
    """

    name: str
    kind: Kind
    path: tuple[str, ...]


def _column(name: str, kind: Kind = Kind.TEXT) -> Column:
    return Column(name, kind, (name,))


COLUMNS = (
    _column("run"),
    _column("key"),
    _column("state"),
    _column("level", Kind.INTEGER),
    *(
        Column(f"input_{part}", Kind.TEXT, ("input", part))
        for part in ("bucket", "region", "object", "etag")
    ),
    *(Column(f"output_{part}", Kind.TEXT, ("output", part)) for part in ("bucket", "region")),
    *(Column(stem.value, Kind.TEXT, ("output", stem.value)) for stem in Stem),
    _column("job_id"),
    _column("queue_id"),
    _column("attempts", Kind.INTEGER),
    _column("adopted", Kind.TRUTH),
    _column("code"),
    _column("message"),
    _column("request_id"),
    _column("submitted_at", Kind.INSTANT),
    _column("started_at", Kind.INSTANT),
    _column("finished_at", Kind.INSTANT),
    _column("media_duration_s", Kind.NUMBER),
    _column("user_data"),
    *(
        Column(f"{stem.value}_{name}", kind, ("files", stem.value, name))
        for stem in Stem
        for name, kind in (
            ("md5", Kind.TEXT),
            ("size_bytes", Kind.INTEGER),
            ("verified", Kind.TRUTH),
            ("path", Kind.TEXT),
        )
    ),
)


def flat(row: Mapping[str, Any]) -> list[Any]:
    """Return the values of a row in the order of ``COLUMNS``; None where there is no value.

    Instants stay text, as in the report.
    """
    by_stem = {file["stem"]: file for file in row["files"]}
    nested = {**row, "files": by_stem}
    return [_at(nested, column.path) for column in COLUMNS]


def _at(value: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        value = value.get(step) if value is not None else None
    return value


def instant_of(text: str | None) -> datetime | None:
    """Return an instant of a row."""
    return None if text is None else datetime.fromisoformat(text)


_GROUP = 20_000
"""Rows of a Parquet row group, and so of what is kept in memory."""


class CsvWriter:
    """Writes rows as CSV: UTF-8, a header, RFC 4180 quotes, empty for no value, true and false.

    Args:
        file: Where to.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._writer = csv.writer(_Utf8(file))
        self._writer.writerow([column.name for column in COLUMNS])

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write these rows."""
        self._writer.writerows([_cell(value) for value in flat(row)] for row in rows)

    def close(self) -> None:
        """Write what is left: nothing, as nothing is kept back; the file stays open."""


class _Utf8:
    """Encodes text for a file that it does not own.

    A ``TextIOWrapper`` would close the file, also standard output, when an error drops it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write this text."""
        return self._file.write(text.encode())


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


class ParquetWriter:
    """Writes rows as Parquet, with types that do not depend on the rows.

    Args:
        file: Where to.

    Raises:
        ConfigError: If pyarrow is not installed.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            import pyarrow as pa
            from pyarrow import parquet
        except ImportError as error:
            raise ConfigError(
                "Parquet needs pyarrow. Install it with: "
                "pip install 'voiceseparate-orchestrator[parquet]'"
            ) from error
        types = {
            Kind.TEXT: pa.string(),
            Kind.INTEGER: pa.int64(),
            Kind.NUMBER: pa.float64(),
            Kind.TRUTH: pa.bool_(),
            Kind.INSTANT: pa.timestamp("ms", tz="UTC"),
        }
        self._schema = pa.schema([(column.name, types[column.kind]) for column in COLUMNS])
        self._table = pa.Table.from_arrays
        self._array = pa.array
        self._writer = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._rows: list[list[Any]] = []

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write these rows, in groups."""
        self._rows += [flat(row) for row in rows]
        while len(self._rows) >= _GROUP:
            self._write_group(self._rows[:_GROUP])
            del self._rows[:_GROUP]

    def close(self) -> None:
        """Write what is left, and the footer; the file stays open."""
        if self._rows:
            self._write_group(self._rows)
        self._writer.close()

    def _write_group(self, rows: Sequence[Sequence[Any]]) -> None:
        arrays = []
        for number, column in enumerate(COLUMNS):
            values = [row[number] for row in rows]
            if column.kind is Kind.INSTANT:
                values = [instant_of(value) for value in values]
            arrays.append(self._array(values, self._schema.field(number).type))
        self._writer.write_table(self._table(arrays, schema=self._schema))


class LineWriter:
    """Writes one JSON object per line.

    Args:
        file: Where to.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write these rows."""
        self._file.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)

    def close(self) -> None:
        """Do nothing: every row is written; the file stays open."""
