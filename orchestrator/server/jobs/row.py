"""A job as the service stores it, and as it shows it to clients."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import orjson

from orchestrator.domain.spec import AudioConfig, AudioMode
from orchestrator.server.http.xml import Written, element, leaf, leaves
from orchestrator.server.jobs.ids import vendor_time
from orchestrator.server.jobs.sound import Sound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from orchestrator.server.http.xml import Tree


TAG = "VoiceSeparate"
SUCCESS = "Success"
"""Code of a job that did not fail, also before it has ended."""


class State(StrEnum):
    """The vendor's job states."""

    SUBMITTED = "Submitted"
    RUNNING = "Running"
    SUCCESS = "Success"
    FAILED = "Failed"
    PAUSE = "Pause"
    CANCEL = "Cancel"


TARGET_NODES = ("Region", "Bucket")
"""Nodes of ``Output`` beside the names of the stems."""


@dataclass(slots=True)  # not frozen: that would take four times as long
class JobRequest:
    """Content of a submit that is stored with the job.

    Attributes:
        output: Nodes of ``Output`` as sent.
        names: Pattern of each stem's object key.
        sound: AudioMode and AudioConfig.
        template_id: Template of the job, or empty.
        template_name: Name of that template.
        user_data: UserData.
        callback: Callback settings of the request.
        multi: True if the operations of the request have a Tag each.
    """

    output: dict[str, str]
    names: dict[str, str]
    sound: Sound
    template_id: str = ""
    template_name: str = ""
    user_data: str = ""
    callback: dict[str, str] = field(default_factory=dict)
    multi: bool = False

    def dump(self) -> bytes:
        """Return the stored form: JSON of what is set."""
        stored: dict[str, Any] = {"output": self.output, "names": self.names}
        if self.template_id:
            stored["template_id"], stored["template_name"] = self.template_id, self.template_name
        stored.update(self.sound.stored)
        if self.user_data:
            stored["user_data"] = self.user_data
        if self.callback:
            stored["callback"] = self.callback
        if self.multi:
            stored["multi"] = True
        return orjson.dumps(stored)


def load_request(raw: bytes) -> JobRequest:
    """Parse the stored form of a request."""
    stored = orjson.loads(raw)
    mode, audio = AudioMode(stored.pop("mode")), AudioConfig(**stored.pop("audio"))
    sound = Sound(mode, audio, stored.pop("inline", {}))
    return JobRequest(sound=sound, **stored)


JobPlace: TypeAlias = "tuple[str, str, str]"
"""Bucket, region and queue of a job."""


@dataclass(slots=True)
class NewJob:
    """A job to be accepted.

    Attributes:
        job_id: Id of the job.
        place: Bucket, region and queue.
        rest: JobLevel, input, time of acceptance, and the stored form of the request.
        element: Its ``JobsDetail``.
    """

    job_id: str
    place: JobPlace
    rest: tuple[int, str, float, bytes]
    element: Written


@dataclass(slots=True)
class JobRow:
    """One job.

    Attributes:
        job_id: Id of the job.
        bucket: Bucket that owns the job, which is the bucket of its input.
        region: Region of that bucket.
        queue_id: Queue of the job.
        level: JobLevel.
        input_object: Key of the input.
        created_at: Time of acceptance.
        request: Content of the submit.
        tag: Job type.
        state: State of the job.
        code: ``Success``, or the code of the failure.
        message: Sentence about the failure, or notes about the stems of a job that succeeded.
        started_at: Time of the last start.
        ended_at: Time of the end.
        starts: Number of starts.
        result: Trees of the answer (see ``result_of``), or None.
        seq: Order of acceptance; set by the database.
    """

    job_id: str
    bucket: str
    region: str
    queue_id: str
    level: int
    input_object: str
    created_at: float
    request: JobRequest
    tag: str = TAG
    state: State = State.SUBMITTED
    code: str = SUCCESS
    message: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    starts: int = 0
    result: dict[str, Any] | None = None
    seq: int = 0

    @classmethod
    def load(cls, values: Iterable[Any]) -> Self:
        """Return the job of a database row of ``COLUMNS``."""
        *head, request, tag, state, code, message, started, ended, starts, result, seq = values
        made = orjson.loads(result) if result else None
        steps = (tag, State(state), code, message, started, ended, starts, made, seq)
        return cls(*(*head, load_request(request), *steps))

    def detail(self, *, names: dict[str, str] | None = None) -> dict[str, Tree]:
        """Return ``JobsDetail``; ``names`` replace the patterns of the output names."""
        request = self.request
        operation: dict[str, Tree] = {}
        if request.multi:
            operation["Tag"] = self.tag
        if request.template_id:
            operation["TemplateId"] = request.template_id
            operation["TemplateName"] = request.template_name
        if request.sound.echo:
            operation["VoiceSeparate"] = request.sound.echo
        operation["Output"] = {**request.output, **(names or {})}
        if self.result:
            operation["MediaInfo"] = self.result["media_info"]
            operation["MediaResult"] = self.result["media_result"]
        if request.user_data:
            operation["UserData"] = request.user_data
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
            **({} if request.multi else {"Tag": self.tag}),
            "Input": {"BucketId": self.bucket, "Object": self.input_object, "Region": self.region},
            "Operation": operation,
        }

    def element(self) -> Written:
        """Return the element of :meth:`detail`, written in a third of the time."""
        request = self.request
        if self.result or request.template_id or request.multi:
            return element("JobsDetail", self.detail())
        head = (self.job_id, self.bucket, self.region, self.queue_id, self.level)
        state = (self.tag, self.state.value, self.code, self.message)
        started, ended = vendor_time(self.started_at), vendor_time(self.ended_at)
        times = (vendor_time(self.created_at), started, ended)
        work = (request.output, request.sound.element, request.user_data)
        return _plain_element(head, self.input_object, state, times, work)


def _plain_element(
    head: tuple[str, str, str, str, int],
    input_object: str,
    state: tuple[str, str, str, str],
    times: tuple[str, str, str],
    work: tuple[dict[str, str], str, str],
) -> Written:
    """Return the element of a job without a template and without a result."""
    (job_id, bucket, region, queue_id, level), (tag, name, code, message) = head, state
    output, sound, user_data = work
    created, started, ended = times
    return Written(
        f"<JobsDetail>{leaf('Code', code)}{leaf('Message', message)}<JobId>{job_id}</JobId>"
        f"<State>{name}</State><CreationTime>{created}</CreationTime>"
        f"<StartTime>{started}</StartTime><EndTime>{ended}</EndTime>"
        f"<QueueId>{queue_id}</QueueId><Tag>{tag}</Tag><Input><BucketId>{bucket}</BucketId>"
        f"{leaf('Object', input_object)}<Region>{region}</Region></Input><Operation>{sound}"
        f"<Output>{leaves(output)}</Output>{leaf('UserData', user_data) if user_data else ''}"
        f"<JobLevel>{level}</JobLevel></Operation></JobsDetail>"
    )


def element_of(values: tuple[Any, ...]) -> Written:
    """Return the element of a database row of ``COLUMNS``, as ``JobRow.load`` would."""
    job_id, bucket, region, queue, level, key, created, raw, *rest = values[:14]
    tag, state, code, message, started, ended = rest
    request = orjson.loads(raw)
    if values[_RESULT] or "template_id" in request or "multi" in request:
        return JobRow.load(values).element()
    inline = request.get("inline")
    sound = element("VoiceSeparate", inline) if inline else ""
    work = (request["output"], sound, request.get("user_data", ""))
    times = (vendor_time(created), vendor_time(started), vendor_time(ended))
    status = (tag, state, code, message)
    return _plain_element((job_id, bucket, region, queue, level), key, status, times, work)


COLUMNS = ", ".join(entry.name for entry in fields(JobRow))
"""Columns of the jobs table, in the order of the fields."""
_RESULT = COLUMNS.split(", ").index("result")
