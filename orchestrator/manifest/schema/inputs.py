"""The four kinds of source, and the rules for some of their objects."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from orchestrator.domain.wording import listed, nearest_word
from orchestrator.manifest.schema.job_settings import Bucket, JobSettings, Part, Region
from orchestrator.manifest.schema.value_types import (
    Bytes,
    Instant,
    Integer,
    Loose,
    Number,
    Seconds,
    Text,
    refuse,
)

STDIN = "-"
"""Name of standard input in a list source."""
KIND_PREFIX = "a source of kind "
"""Prefix of the tags below, so that faults can leave them out of paths."""

Globs = Annotated[
    tuple[Text, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(json_schema_extra={"type": ["array", "string"]}),
]
"""One or more globs; * matches any characters, including slashes."""


class SourceSettings(JobSettings):
    """Settings that every source may have."""

    bucket: Bucket | None = None
    """Bucket of the objects, with the account number; the manifest's bucket if left out."""
    region: Region | None = None
    """Region of that bucket; the manifest's region if left out."""


class Filters(SourceSettings):
    """Selection of a source's objects by name."""

    include: Globs = ()
    """Take only objects whose whole name matches one of these globs (* matches slashes too)."""
    exclude: Globs = ()
    """Leave out objects that match one of these globs."""


class ObjectInput(SourceSettings):
    """One object, with any setting of its own."""

    object: Annotated[Text, Field(min_length=1, examples=["input/demo.mp4"])]
    """Name of the object in the bucket."""
    etag: Annotated[Loose, Field(max_length=128)] | None = None
    """Version of its content. It is part of the job's identity: a new etag means a new job."""
    duration_s: Annotated[Number, Field(ge=0)] | None = None
    """Duration of the audio in seconds, for estimates."""
    size_bytes: Annotated[Integer, Field(ge=0)] | None = None
    """Size, for rules and estimates."""


class FoundInput(Filters):
    """Objects that are found at run time, selected by size and time."""

    min_size: Bytes | None = None
    """Leave out smaller objects."""
    max_size: Bytes | None = None
    """Leave out larger objects."""
    min_age: Seconds | None = None
    """Leave out objects changed more recently than this (uploads may still be in progress)."""
    max_age: Seconds | None = None
    """Leave out objects last changed longer ago than this."""
    modified_from: Instant | None = None
    """Leave out objects last changed before this date or instant."""
    modified_to: Instant | None = None
    """Leave out objects last changed at or after this date or instant."""

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        for low, high in (
            ("min_size", "max_size"),
            ("min_age", "max_age"),
            ("modified_from", "modified_to"),
        ):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                refuse(f"{low} is greater than {high}: no object can pass. Swap them?")
        return self


class PrefixInput(FoundInput):
    """All objects whose names begin with the prefix, listed from the bucket at run time."""

    prefix: Annotated[Text, Field(examples=["incoming/{date}/"])]
    """First part of the names; an empty text lists the whole bucket."""


class FolderInput(FoundInput):
    """The media files in a folder of this machine and in its subfolders, read in place.

    Only for service: local. Files are media by their extension, in any case. Hidden and other
    files are skipped, counted and named.
    """

    folder: Annotated[Text, Field(min_length=1, examples=["~/Music/interviews"])]
    """The folder; a relative path starts at the file that names it. Globs of include and exclude
    match the path from there, in any case."""
    bucket: Bucket | None = None
    """Name of the folder in the report and in templates; made from the folder's name if left
    out."""


_COLUMN = r"^[A-Za-z_][A-Za-z0-9_]*$"
ColumnName = Annotated[
    Text, Field(pattern=_COLUMN), WithJsonSchema({"type": "string", "pattern": _COLUMN})
]


class ListInput(Filters):
    """Objects named in a file, plain or gzip, or on standard input (-).

    One object per line (txt), or rows with columns (csv, tsv, jsonl, parquet).
    """

    list: Annotated[Text, Field(min_length=1, examples=["backlog.csv", "-"])]
    """The file, relative to the manifest; - reads standard input."""
    object: Annotated[Text, Field(min_length=1, examples=["{path}"])] | None = None
    """Template that makes the object name from the columns; the column object if left out."""
    format: Literal["txt", "csv", "tsv", "jsonl", "parquet"] | None = None
    """Format of the file; taken from its extension if left out (standard input: txt)."""
    columns: tuple[ColumnName, ...] | None = None
    """Column names of a csv or tsv file that has no header line."""


class When(Part):
    """Conditions of a rule: an object must meet all of them."""

    object: Globs | None = None
    """Globs on the object name (* matches slashes too); one match is enough."""
    prefix: Text | None = None
    """First part of the object name."""
    min_size: Bytes | None = None
    """At least this large. An object of unknown size never matches."""
    max_size: Bytes | None = None
    """At most this large. An object of unknown size never matches."""
    column: dict[str, Globs] | None = None
    """Globs on columns of list files. An object without the column never matches."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if all(getattr(self, name) is None for name in type(self).model_fields):
            refuse(
                "An empty when matches every object: write these settings under defaults, "
                "or add a condition."
            )
        return self


class Rule(JobSettings):
    """Settings for the objects that match. A later rule overrides an earlier one and the source."""

    when: When
    """Conditions that an object must meet."""


def _kinds(data: Any) -> list[str]:
    return [kind for kind in ("list", "folder", "prefix", "object") if kind in data]


def _kind(data: Any) -> str:
    if isinstance(data, SourceSettings):
        return KIND_PREFIX + type(data).__name__.removesuffix("Input").lower()
    return KIND_PREFIX + _kinds(data)[0]


def _source_form(data: Any) -> Any:
    """Refuse data that is not a source before the models of the kinds read it."""
    if isinstance(data, SourceSettings):
        return data
    if not isinstance(data, dict):
        example = f' Write "- object: {data}".' if isinstance(data, str) else ""
        refuse(f"A source is a mapping with object:, prefix:, list: or folder:.{example}")
    kinds = _kinds(data)
    if not kinds:
        near = (nearest_word(key, ("object", "prefix", "list", "folder")) for key in data)
        has = listed(data, "and") or "nothing"
        refuse(
            f"A source needs one of object, prefix, list or folder; this one has {has}.",
            next(filter(None, near), ""),
        )
    if len(kinds) > 1 and set(kinds) != {"list", "object"}:
        refuse(
            "A source has only one of object, prefix, list or folder; "
            f"this one has {listed(kinds, 'and')}. Split it into two sources."
        )
    return data


AnyInput = Annotated[
    Annotated[
        Annotated[ObjectInput, Tag(KIND_PREFIX + "object")]
        | Annotated[PrefixInput, Tag(KIND_PREFIX + "prefix")]
        | Annotated[ListInput, Tag(KIND_PREFIX + "list")]
        | Annotated[FolderInput, Tag(KIND_PREFIX + "folder")],
        Discriminator(_kind),
    ],
    BeforeValidator(_source_form),
]
