"""A job as the service stores it, and as it is told to clients."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import orjson

from orchestrator.server.jobs.ids import vendor_time

if TYPE_CHECKING:
    import sqlite3

    from orchestrator.server.http.xml import Tree


class State(StrEnum):
    """The vendor's job states."""

    SUBMITTED = "Submitted"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    PAUSE = "Pause"
    CANCEL = "Cancel"


COLUMNS = (
    "seq, job_id, bucket, region, queue_id, tag, state, level, input_object, code, message, "
    "created_at, started_at, ended_at, starts, request, result"
)


@dataclass(slots=True)
class JobRow:
    """One job.

    Attributes:
        seq: Order of acceptance; given by the database.
        job_id: Its id.
        bucket: Bucket that owns it, which is the input's.
        region: Region of that bucket.
        queue_id: Its queue.
        tag: Job type.
        state: Where it stands.
        level: JobLevel.
        input_object: Key of the input.
        code: ``Success``, or why it failed.
        message: The same in words.
        created_at: When it was accepted.
        started_at: When it was begun (for the last time).
        ended_at: When it ended.
        starts: Times that it was begun.
        request: What was asked (see ``jobrequest``).
        result: What was made (see ``outcome``), or None.
    """

    job_id: str
    bucket: str
    region: str
    queue_id: str
    level: int
    input_object: str
    created_at: float
    request: dict[str, Any]
    tag: str = "VoiceSeparate"
    state: State = State.SUBMITTED
    code: str = "Success"
    message: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    starts: int = 0
    result: dict[str, Any] | None = None
    seq: int = 0

    @classmethod
    def load(cls, row: tuple[Any, ...] | sqlite3.Row) -> JobRow:
        """From a row of ``COLUMNS``."""
        (
            seq,
            job_id,
            bucket,
            region,
            queue_id,
            tag,
            state,
            level,
            key,
            code,
            message,
            created,
            started,
            ended,
            starts,
            request,
            result,
        ) = row
        return cls(
            job_id, bucket, region, queue_id, level, key, created, orjson.loads(request), tag, State(state), code, message, started, ended,
            starts, orjson.loads(result) if result else None, seq,
        )  # fmt: skip

    def detail(self, *, names: dict[str, str] | None = None) -> dict[str, Tree]:
        """``JobsDetail``; with ``names``, the output names are these instead of the patterns that were asked for."""
        request = self.request
        operation: dict[str, Tree] = {}
        if request.get("multi"):
            operation["Tag"] = self.tag
        if request.get("template_id"):
            operation["TemplateId"] = request["template_id"]
            operation["TemplateName"] = request["template_name"]
        if request.get("inline"):
            operation["VoiceSeparate"] = request["inline"]
        operation["Output"] = {**request["output"], **(names or {})}
        if self.result:
            operation["MediaInfo"] = self.result["media_info"]
            operation["MediaResult"] = self.result["media_result"]
        if request.get("user_data"):
            operation["UserData"] = request["user_data"]
        operation["JobLevel"] = str(self.level)
        return {
            "Code": self.code,
            "Message": self.message,
            "JobId": self.job_id,
            "State": self.state.value,
            "CreationTime": vendor_time(self.created_at),
            "StartTime": vendor_time(self.started_at),
            "EndTime": vendor_time(self.ended_at),
            "QueueId": self.queue_id,
            **({} if request.get("multi") else {"Tag": self.tag}),
            "Input": {"BucketId": self.bucket, "Object": self.input_object, "Region": self.region},
            "Operation": operation,
        }
