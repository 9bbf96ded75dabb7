"""One row of the report, a job that has ended as JSON, and the JSON Schema of rows."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from math import modf
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict

import orjson

from orchestrator.domain.spec import Stem
from orchestrator.domain.states import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.job import Job, StemFile
    from orchestrator.domain.run import Run


FolderOf: TypeAlias = "Callable[[str], str | None]"
"""Returns the folder of a bucket on this machine, by its name."""
ENDED_STATES = ("succeeded", "skipped", "failed", "rejected", "cancelled", "unfinished")
"""States of rows, in the order in which people read them."""
WELL = frozenset({"succeeded", "skipped"})
"""States of rows that are not failures."""
BAD_STATES = tuple(state for state in ENDED_STATES if state not in WELL)
"""States of rows that are failures."""
ROW_SCHEMA = "orchestrator.report/1"


def instant(seconds: float | None) -> str | None:
    """Return an instant as RFC 3339 in UTC with milliseconds; None stays None."""
    if seconds is None:
        return None
    fraction, whole = modf(seconds)
    micros = round(fraction * 1_000_000)  # as datetime rounds
    if not 0 <= micros < 1_000_000:
        over, micros = divmod(micros, 1_000_000)
        whole += over
    return f"{_second(int(whole))}.{micros // 1000:03d}Z"


@lru_cache(4096)
def _second(whole: int) -> str:
    """Return a whole second without its zone.

    Cached, because many jobs end in one second, and formatting a date takes as long as all the rest
    of a row.
    """
    return datetime.fromtimestamp(whole, UTC).isoformat(timespec="seconds").removesuffix("+00:00")


class Input(TypedDict):
    """Media object of a row."""

    bucket: str
    region: str
    object: str
    etag: str


class StemRow(TypedDict):
    """Stem of a row."""

    stem: str
    object: str
    md5: str
    size_bytes: int | None
    verified: bool
    path: NotRequired[str]
    """Its place on this machine, if it is here."""


class Row(TypedDict):
    """One row of the report; ``orchestrator schema report`` describes its fields."""

    schema: str
    run: str
    key: str
    state: str
    level: int
    input: Input
    output: dict[str, str]
    job_id: str
    queue_id: str
    attempts: int
    adopted: bool
    code: str
    message: str
    request_id: str
    submitted_at: str | None
    started_at: str | None
    finished_at: str | None
    media_duration_s: float | None
    files: list[StemRow]
    user_data: str


def row(job: Job, run: Run, folder_of: FolderOf | None = None) -> Row:
    """Return the row of an ended job; its state is ``skipped`` if it was done in an earlier run.

    Args:
        job: The job.
        run: The run.
        folder_of: Returns the folder of a bucket on this machine; None if they are elsewhere.
    """
    folder = None if folder_of is None else folder_of(job.spec.output.bucket)
    spec, media = job.spec, job.spec.media
    return {
        "schema": ROW_SCHEMA,
        "run": run.id,
        "key": spec.key,
        "state": "skipped" if job.skipped else job.state._value_,
        "level": spec.level,
        "input": {
            "bucket": media.bucket,
            "region": media.region,
            "object": media.key,
            "etag": media.etag,
        },
        "output": _output(job),
        "job_id": job.job_id,
        "queue_id": job.queue_id,
        "attempts": job.attempts,
        "adopted": job.adopted,
        "code": job.code,
        "message": job.message,
        "request_id": job.request_id,
        "submitted_at": instant(_submitted_at(job)),
        "started_at": instant(job.started_at),
        "finished_at": instant(job.finished_at),
        "media_duration_s": job.media_duration_s,
        "files": [_stem_row(file, folder) for file in job.files],
        "user_data": spec.user_data,
    }


def _submitted_at(job: Job) -> float | None:
    """Return when the job was accepted, not later than it started or ended.

    The service writes whole seconds, rounded down: a job may seem to have ended before it was
    accepted, and a difference of two columns would be negative.
    """
    instants = (job.submitted_at, job.started_at, job.finished_at)
    known = [each for each in instants if each is not None]
    return None if job.submitted_at is None else min(known)


def _stem_row(file: StemFile, folder: str | None) -> StemRow:
    found: StemRow = {
        "stem": file.stem._value_,
        "object": file.object,
        "md5": file.md5,
        "size_bytes": file.size_bytes,
        "verified": file.verified,
    }
    if folder is not None and file.object:
        found["path"] = f"{folder}/{file.object}"
    return found


def _output(job: Job) -> dict[str, str]:
    """Return the names of the stems as they were written, else as they were requested."""
    output = job.spec.output
    names = {
        "bucket": output.bucket,
        "region": output.region,
        "voice": output.voice,
        "background": output.background,
    }
    if output.bass:
        names["bass"] = output.bass
    if output.drums:
        names["drums"] = output.drums
    for file in job.files:
        names[file.stem._value_] = file.object
    return names


def line(job: Job, run: Run, folder_of: FolderOf | None = None) -> bytes:
    """Return the row as one line of the file."""
    return orjson.dumps(row(job, run, folder_of), option=orjson.OPT_APPEND_NEWLINE)


ROW_STATES = (*sorted(state.value for state in TERMINAL), "skipped")
"""States that a row can have."""
_TEXT = {"type": "string"}
_INSTANT = {"type": ["string", "null"], "format": "date-time"}


def row_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a row, as ``row.row`` makes it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "orchestrator report row",
        "description": "One job of one run; the report has exactly one row per job.",
        **_object(
            {
                "schema": {"const": ROW_SCHEMA},
                "run": {**_TEXT, "description": "Id of the run."},
                "key": {
                    **_TEXT,
                    "description": "Identity of the job: object, version, operation and output.",
                },
                "state": {
                    "enum": list(ROW_STATES),
                    "description": "skipped: done in an earlier run.",
                },
                "level": {"enum": [0, 1, 2], "description": "JobLevel; larger goes first."},
                "input": _object(
                    {"bucket": _TEXT, "region": _TEXT, "object": _TEXT, "etag": _TEXT}
                ),
                "output": _object(
                    {"bucket": _TEXT, "region": _TEXT, **{stem.value: _TEXT for stem in Stem}},
                    optional=(Stem.BASS.value, Stem.DRUMS.value),
                ),
                "job_id": {
                    **_TEXT,
                    "description": "Id at the service; empty if the job never got there.",
                },
                "queue_id": _TEXT,
                "attempts": {
                    "type": "integer",
                    "minimum": 0,
                    "description": "POSTs that may have reached the service.",
                },
                "adopted": {
                    "type": "boolean",
                    "description": "Found at the service by its key, after its answer was lost.",
                },
                "code": {**_TEXT, "description": "Error code if it did not succeed; else empty."},
                "message": _TEXT,
                "request_id": _TEXT,
                "submitted_at": _INSTANT,
                "started_at": _INSTANT,
                "finished_at": _INSTANT,
                "media_duration_s": {"type": ["number", "null"]},
                "files": {"type": "array", "items": _stem_file()},
                "user_data": {**_TEXT, "description": "The user's own, without our key."},
            }
        ),
    }


def _stem_file() -> dict[str, Any]:
    return _object(
        {
            "stem": {"enum": [stem.value for stem in Stem]},
            "object": _TEXT,
            "md5": _TEXT,
            "size_bytes": {"type": ["integer", "null"], "minimum": 0},
            "verified": {"type": "boolean", "description": "It was seen in its bucket."},
            "path": {**_TEXT, "description": "Where it is on this machine, if it is."},
        },
        optional=("path",),
    )


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    required = [name for name in properties if name not in optional]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
