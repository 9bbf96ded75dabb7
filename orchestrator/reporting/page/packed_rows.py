"""Rows of a report as compact text that a page can carry: columns, compressed, in base64.

A page of 100,000 rows has them in parts of some thousand rows. Each part is a JSON object with one
entry per column, compressed with zlib. A column is ``{"c": value}`` if all rows have that value,
``{"d": values, "i": numbers}`` if few values repeat, else ``{"v": values}``. Instants are whole
milliseconds since the epoch. ``script/rows.js`` reads it.
"""

from __future__ import annotations

import base64
import zlib
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.reporting.export.tables import COLUMNS, Kind, flat, instant_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.reporting.export.tables import Column

PART = 5000
"""Rows of a part: enough to compress well, few enough to show the first while others are read."""
_SIGNATURES = tuple(f"{stem}_signature" for stem in ("input", "voice", "background"))
_REPEATS = 4
"""A column whose values occur this often, on average, is written as numbers of them."""


def _is_packed(column: Column) -> bool:
    """Return False for paths on this machine: a page names files from its own place."""
    return column.path[-1] != "path"


_PACKED = tuple((place, column) for place, column in enumerate(COLUMNS) if _is_packed(column))
PACKED_COLUMNS = (
    *({"name": column.name, "kind": column.kind.value} for _, column in _PACKED),
    *({"name": name, "kind": Kind.TEXT.value} for name in _SIGNATURES),
)
"""Columns of a packed row; the last are parts of links (``links.py``), or have no value."""


def packed_row(row: Mapping[str, Any], signatures: Mapping[str, str]) -> list[Any]:
    """Return the values of a row in the order of ``PACKED_COLUMNS``.

    Args:
        row: The row.
        signatures: Signature of the link of each file, by ``input``, ``voice``, ``background``.
    """
    values = flat(row)
    found = [
        _millis(values[place]) if column.kind is Kind.INSTANT else values[place]
        for place, column in _PACKED
    ]
    return found + [signatures.get(name.removesuffix("_signature")) for name in _SIGNATURES]


def _millis(text: str | None) -> int | None:
    at = instant_of(text)
    return None if at is None else round(at.timestamp() * 1000)


def pack(rows: Sequence[Sequence[Any]]) -> bytes:
    """Return packed rows as base64 text."""
    columns = [_column(list(values)) for values in zip(*rows, strict=True)]
    content = orjson.dumps({"rows": len(rows), "columns": columns})
    return base64.b64encode(zlib.compress(content, 6))


def _column(values: list[Any]) -> dict[str, Any]:
    kinds = list(dict.fromkeys(values))
    if len(kinds) == 1:
        return {"c": kinds[0]}
    if len(kinds) * _REPEATS > len(values):
        return {"v": values}
    numbers = {value: number for number, value in enumerate(kinds)}
    return {"d": kinds, "i": [numbers[value] for value in values]}
