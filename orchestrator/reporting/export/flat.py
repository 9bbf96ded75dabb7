"""A row of the report as flat columns, for tables: the same columns with the same types always."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchestrator.domain.spec import Stem

if TYPE_CHECKING:
    from collections.abc import Mapping


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
