"""Jobs and their rows: what is written, in which order, and how it is read back."""

from __future__ import annotations

from typing import Any, overload
from zlib import crc32

import orjson

from orchestrator.domain.job import Job, StemFile
from orchestrator.domain.spec import JobSpec, MediaObject, Stem
from orchestrator.domain.states import JobState
from orchestrator.ledger.spec_json import spec_of

Snapshot = tuple[Any, ...]
"""A job's fields at the moment it was to be saved, in the order of ``save`` in ``sqlite.sql``,
without the last three (its place in the report)."""

SENT_WIDTH = 9
"""A new job that is sent and accepted changes only in this many fields at the start of a snapshot
(``save_sent`` in ``sqlite.sql``)."""
_REST_OF_NEW = ("", 0, "", "", 0, None, None, None, "")
"""The other fields of a new job."""

KEY, SPEC, VISIT = 1, 22, 23
"""Places of values in a row of ``known_jobs`` in ``sqlite.sql``."""

STATES = {state.value: state for state in JobState}
_STEMS = {stem.value: stem for stem in Stem}


@overload
def micros(instant: float) -> int: ...


@overload
def micros(instant: float | None) -> int | None: ...


def micros(instant: float | None) -> int | None:
    """Return seconds as whole microseconds, which databases and JSON hold without loss."""
    return None if instant is None else round(instant * 1_000_000)


def seconds(value: int | None) -> float | None:
    """Return microseconds as seconds."""
    return None if value is None else value / 1_000_000


@overload
def to_microsecond(instant: float) -> float: ...


@overload
def to_microsecond(instant: float | None) -> float | None: ...


def to_microsecond(instant: float | None) -> float | None:
    """Return ``instant`` as a ledger returns it."""
    return seconds(micros(instant))


def snapshot(job: Job) -> Snapshot:
    """Return the job's fields as plain integers and text, which are quick to encode."""
    return (
        job.id,
        job.saved_state._value_,
        job.state._value_,
        job.attempts,
        job.job_id,
        job.queue_id,
        job.request_id,
        None if job.intent_at is None else round(job.intent_at * 1_000_000),
        None if job.submitted_at is None else round(job.submitted_at * 1_000_000),
        "" if not job.past_job_ids else orjson.dumps(job.past_job_ids).decode(),
        1 if job.adopted else 0,
        job.code,
        job.message,
        round(job.not_before * 1_000_000),
        None if job.started_at is None else round(job.started_at * 1_000_000),
        None if job.finished_at is None else round(job.finished_at * 1_000_000),
        None if job.media_duration_s is None else round(job.media_duration_s * 1_000_000),
        "" if not job.files else _encode_files(job),
    )


def is_rest_new(snapshot: Snapshot) -> bool:
    """Return True if no field behind ``SENT_WIDTH`` differs from a new job's."""
    return snapshot[SENT_WIDTH:] == _REST_OF_NEW


def _encode_files(job: Job) -> str:
    """Return the files as JSON. A name that the spec has as well, as most do, is null here."""
    names = job.spec.output.names()
    return orjson.dumps(
        [
            (
                file.stem,
                None if file.object == names.get(file.stem) else file.object,
                file.md5,
                file.size_bytes,
                file.verified,
            )
            for file in job.files
        ]
    ).decode()


def _decode_files(text: str, spec: JobSpec) -> tuple[StemFile, ...]:
    names = spec.output.names()
    return tuple(
        [
            StemFile(_STEMS[stem], names[_STEMS[stem]] if name is None else name, *rest)
            for stem, name, *rest in orjson.loads(text)
        ]
    )


def job_of(row: list[Any], spec: JobSpec | None = None) -> Job:
    """Return the job of a row of ``jobs`` or ``known_jobs``, with ``spec`` if it is given."""
    state = STATES[row[2]]
    job = Job(row[0], spec or spec_of(row[1], row[22]), state, state, row[3], row[4], row[5])
    job.past_job_ids = tuple(orjson.loads(row[6])) if row[6] else ()
    job.queue_id, job.request_id, job.adopted = row[7], row[8], row[9] == 1
    job.code, job.message, job.not_before = row[10], row[11], row[12] / 1_000_000
    job.intent_at, job.submitted_at = seconds(row[13]), seconds(row[14])
    job.started_at, job.finished_at = seconds(row[15]), seconds(row[16])
    job.media_duration_s = seconds(row[17])
    job.files = _decode_files(row[18], job.spec) if row[18] else ()
    job.run_no, job.row, job.skipped = row[19], row[20], row[21] == 1
    return job


def object_hash(media: MediaObject) -> int:
    """Return a number by which jobs of the same object are found.

    A few other objects share it, so the caller compares the objects.
    """
    return crc32(f"{media.bucket}\0{media.region}\0{media.key}".encode())
