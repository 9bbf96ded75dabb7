"""The three kinds of source, and the rules that pick out some of their objects."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from orchestrator.domain.wording import did_you_mean, listed
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

FORMATS = ("txt", "csv", "tsv", "jsonl", "parquet")
STDIN = "-"
"""How a list names standard input."""
KIND_PREFIX = "a source of kind "
"""How the tags below begin, so that faults can leave them out of paths."""


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Globs = Annotated[
    tuple[Text, ...],
    BeforeValidator(_several),
    Field(json_schema_extra={"type": ["array", "string"]}),
]
"""One glob or several; * matches any characters, slashes too."""


class SourceSettings(JobSettings):
    """What every source may say."""

    bucket: Bucket | None = None
    """Bucket of the objects, with the account number; the manifest's if left out."""
    region: Region | None = None
    """Region of that bucket; the manifest's if left out."""


class Filters(SourceSettings):
    """Which objects of a source are taken."""

    include: Globs = ()
    """Take only objects that match one of these globs (the whole object name; * matches slashes too)."""
    exclude: Globs = ()
    """Leave out objects that match one of these globs."""


class ObjectInput(SourceSettings):
    """One object, with any setting of its own."""

    object: Annotated[Text, Field(min_length=1, examples=["input/demo.mp4"])]
    """Name of the object in the bucket."""
    etag: Annotated[Loose, Field(max_length=128)] | None = None
    """Version of its content. It becomes part of the job's identity: another one is another job."""
    duration_s: Annotated[Number, Field(ge=0)] | None = None
    """Length of the sound in seconds, for estimates."""
    size_bytes: Annotated[Integer, Field(ge=0)] | None = None
    """Size, for rules and estimates."""


class PrefixInput(Filters):
    """All objects whose names begin with a text, listed from the bucket at run time."""

    prefix: Annotated[Text, Field(examples=["incoming/{date}/"])]
    """Beginning of the names; an empty text lists the whole bucket."""
    min_size: Bytes | None = None
    """Leave out smaller objects."""
    max_size: Bytes | None = None
    """Leave out larger objects."""
    min_age: Seconds | None = None
    """Leave out objects that were changed more recently than this (uploads that may still go on)."""
    max_age: Seconds | None = None
    """Leave out objects that were last changed longer ago than this."""
    modified_from: Instant | None = None
    """Leave out objects that were last changed before this date or instant."""
    modified_to: Instant | None = None
    """Leave out objects that were last changed at or after this date or instant."""

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


_COLUMN = r"^[A-Za-z_][A-Za-z0-9_]*$"
ColumnName = Annotated[
    Text, Field(pattern=_COLUMN), WithJsonSchema({"type": "string", "pattern": _COLUMN})
]


class ListInput(Filters):
    """Objects named in a file: one per line (txt), or with columns (csv, tsv, jsonl, parquet); plain or gzip; - is standard input."""

    list: Annotated[Text, Field(min_length=1, examples=["backlog.csv", "-"])]
    """The file, relative to the manifest; - reads standard input."""
    object: Annotated[Text, Field(min_length=1, examples=["{path}"])] | None = None
    """How an object's name follows from the columns; the column named object if left out."""
    format: Literal["txt", "csv", "tsv", "jsonl", "parquet"] | None = None
    """Kind of file; its ending tells if left out (for standard input: txt)."""
    columns: tuple[ColumnName, ...] | None = None
    """Names of the columns of a csv or tsv file that has no header line."""


class When(Part):
    """Which objects a rule is for: all that is said here must be true."""

    object: Globs | None = None
    """Glob on the object's name (* matches slashes too); one of several is enough."""
    prefix: Text | None = None
    """Beginning of the object's name."""
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
                "An empty when would be for every object: write that under defaults, or say which objects are meant."
            )
        return self


class Rule(JobSettings):
    """Settings for the objects that match; a later rule wins over an earlier one, and over what the source says."""

    when: When
    """Which objects it is for."""


def _kinds(data: Any) -> list[str]:
    return [kind for kind in ("list", "prefix", "object") if kind in data]


def _kind(data: Any) -> str:
    if isinstance(data, SourceSettings):
        return KIND_PREFIX + type(data).__name__.removesuffix("Input").lower()
    return KIND_PREFIX + _kinds(data)[0]


def _source_form(data: Any) -> Any:
    """Refuses what is no source at all, before the kinds look at it."""
    if isinstance(data, SourceSettings):
        return data
    if not isinstance(data, dict):
        example = f' Write "- object: {data}".' if isinstance(data, str) else ""
        refuse(f"A source is a mapping with object:, prefix: or list:.{example}")
    kinds = _kinds(data)
    if not kinds:
        near = next(
            (hint for key in data if (hint := did_you_mean(key, ("object", "prefix", "list")))), ""
        )
        refuse(
            f"A source needs one of object, prefix or list; this one has {listed(data, 'and') or 'nothing'}. {near}".rstrip()
        )
    if "prefix" in data and len(kinds) > 1:
        refuse(
            f"A source is one of object, prefix or list; this one has {listed(kinds, 'and')}. Make two sources of it."
        )
    return data


AnyInput = Annotated[
    Annotated[
        Annotated[ObjectInput, Tag(KIND_PREFIX + "object")]
        | Annotated[PrefixInput, Tag(KIND_PREFIX + "prefix")]
        | Annotated[ListInput, Tag(KIND_PREFIX + "list")],
        Discriminator(_kind),
    ],
    BeforeValidator(_source_form),
]
