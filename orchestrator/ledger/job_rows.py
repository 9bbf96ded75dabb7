"""A job and its row: what is written, in which order, and how it is read back."""

from __future__ import annotations

from typing import Any, overload
from zlib import crc32

import orjson

from orchestrator.domain.job import Job, StemFile
from orchestrator.domain.spec import JobSpec, MediaObject, Stem
from orchestrator.domain.states import JobState
from orchestrator.ledger.spec_json import spec_of

Snapshot = tuple[Any, ...]
"""A job's fields as they were when they were to be saved, in the order of ``SAVED``, without the last three."""

SENT = (
    "id",
    "saved",  # the state that the row must have
    "state",
    "attempts",
    "job_id",
    "queue_id",
    "request_id",
    "intent_at",
    "submitted_at",
)
"""What changes in the row of a new job that is sent and accepted."""
SAVED = (
    *SENT,
    "past_job_ids",
    "adopted",
    "code",
    "message",
    "not_before",
    "started_at",
    "finished_at",
    "media_duration",
    "files",
    "run_no",
    "row",
    "skipped",
)
REST_OF_NEW = ("", 0, "", "", 0, None, None, None, "")
"""What a new job has behind ``SENT``, up to ``files``."""

READ = (
    "id",
    "key",
    "state",
    "seq",
    "attempts",
    "job_id",
    "past_job_ids",
    "queue_id",
    "request_id",
    "adopted",
    "code",
    "message",
    "not_before",
    "intent_at",
    "submitted_at",
    "started_at",
    "finished_at",
    "media_duration",
    "files",
    "run_no",
    "row",
    "skipped",
)
"""The columns of ``jobs`` that make a job, in the order that ``job_of`` takes them; the spec comes behind them."""

STATES = {state.value: state for state in JobState}
_STEMS = {stem.value: stem for stem in Stem}


def micros(instant: float | None) -> int | None:
    """Seconds as whole microseconds: what a database holds without loss and JSON carries without loss."""
    return None if instant is None else round(instant * 1_000_000)


def seconds(value: int | None) -> float | None:
    """Microseconds as seconds."""
    return None if value is None else value / 1_000_000


@overload
def to_microsecond(instant: float) -> float: ...


@overload
def to_microsecond(instant: float | None) -> float | None: ...


def to_microsecond(instant: float | None) -> float | None:
    """``instant`` as a ledger gives it back."""
    return seconds(micros(instant))


def snapshot(job: Job) -> Snapshot:
    """The job's fields now. Plain integers and text only: the driver looks long at every other type."""
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
        "" if not job.files else _encode_files(job.files),
    )


def is_rest_new(snapshot: Snapshot) -> bool:
    """Whether nothing behind ``SENT`` differs from what a new job has."""
    return snapshot[len(SENT) :] == REST_OF_NEW


def _encode_files(files: tuple[StemFile, ...]) -> str:
    return orjson.dumps(
        [(file.stem, file.object, file.md5, file.size_bytes, file.verified) for file in files]
    ).decode()


def _decode_files(text: str) -> tuple[StemFile, ...]:
    return tuple(
        [
            StemFile(_STEMS[stem], name, md5, size, verified)
            for stem, name, md5, size, verified in orjson.loads(text)
        ]
    )


def job_of(row: list[Any], spec: JobSpec | None = None) -> Job:
    """The job of a row of ``READ``; the spec from ``spec``, else from behind the row."""
    state = STATES[row[2]]
    job = Job(row[0], spec or spec_of(row[1], row[22]), state, state, row[3], row[4], row[5])
    job.past_job_ids = tuple(orjson.loads(row[6])) if row[6] else ()
    job.queue_id, job.request_id, job.adopted = row[7], row[8], row[9] == 1
    job.code, job.message, job.not_before = row[10], row[11], row[12] / 1_000_000
    job.intent_at, job.submitted_at, job.started_at = (
        seconds(row[13]),
        seconds(row[14]),
        seconds(row[15]),
    )
    job.finished_at, job.media_duration_s = seconds(row[16]), seconds(row[17])
    job.files = _decode_files(row[18]) if row[18] else ()
    job.run_no, job.row, job.skipped = row[19], row[20], row[21] == 1
    return job


def object_hash(media: MediaObject) -> int:
    """A short number by which jobs of the same object are found; a few others share it, so the object is compared afterwards."""
    return crc32(f"{media.bucket}\0{media.region}\0{media.key}".encode())
