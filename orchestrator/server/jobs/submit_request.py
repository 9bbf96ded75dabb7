"""Parser of ``POST /jobs``: checks the body as the vendor's pages demand."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.domain import regions
from orchestrator.domain.audio_formats import extension
from orchestrator.server.http import xml
from orchestrator.server.http.errors import Refusal, invalid_argument
from orchestrator.server.http.request import BUCKET
from orchestrator.server.jobs.row import TAG, TARGET_NODES, JobRequest, JobRow, NewJob
from orchestrator.server.jobs.sound import Sound, read_sound
from orchestrator.server.storage import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.server.http.xml import Node
    from orchestrator.server.jobs.row import JobPlace

MAX_OPERATIONS = 6  # the vendor's MultiJobs page
MAX_USER_DATA = 1024  # printable ASCII, as the vendor's sibling jobs state it
STEM_NODES = {
    "voice": "AuObject",
    "background": "Object",
    "bass": "BassObject",
    "drums": "DrumObject",
}
"""Node of ``Output`` by stem, in the order of the vendor's MediaResult."""

ECHOED = sorted(STEM_NODES.items(), key=lambda item: item[1], reverse=True)
"""The same, in the order of the vendor's echo of ``Output``."""

_WILDCARD = re.compile(r"\$\{(ext|jobid)\}", re.IGNORECASE)  # workflows write ${Ext}, ${Jobid}
_CALLBACK_NODES = ("CallBack", "CallBackFormat", "CallBackType")
_MQ_NODES = ("MqRegion", "MqMode", "MqName")


@dataclass(frozen=True, slots=True)
class Template:
    """Template of a job."""

    template_id: str
    name: str
    sound: Sound


@dataclass(slots=True)  # not frozen: that would take four times as long for every request
class Draft:
    """One requested job.

    Attributes:
        key: Key of the input.
        level: JobLevel.
        request: What else is stored with the job.
    """

    key: str
    level: int
    request: JobRequest

    @property
    def output_bucket(self) -> str:
        """Bucket that the stems are written to."""
        return self.request.output["Bucket"]

    def job(self, job_id: str, place: JobPlace, created_at: float) -> NewJob:
        """Return the job that is to be accepted."""
        row = JobRow(job_id, *place, self.level, self.key, created_at, self.request)
        rest = (self.level, self.key, created_at, self.request.dump())
        return NewJob(job_id, place, rest, row.element())


def expand(request: JobRequest, job_id: str) -> dict[str, str]:
    """Return the key of each stem that the mode makes, with ``${ext}`` and ``${jobid}`` filled."""
    names = {}
    for stem in request.sound.stems:
        pattern = request.names.get(stem)
        if pattern is not None:
            names[stem] = _filled(pattern, request, job_id) if "${" in pattern else pattern
    return names


def _filled(pattern: str, request: JobRequest, job_id: str) -> str:
    values = {"ext": extension(request.sound.audio.codec), "jobid": job_id}
    return _WILDCARD.sub(lambda match: values[match[1].lower()], pattern)


class Parser:
    """Parses the body of a submit."""

    def __init__(self, find_template: Callable[[str], Template]) -> None:
        self._find_template = find_template

    def parse(self, root: Node) -> tuple[str, list[Draft]]:
        """Return the queue id, or an empty text, and the drafts, if every operation is valid.

        Raises:
            Refusal: ``InvalidContent``, ``InvalidArgument``, ``TemplateNotFound``.
        """
        if root.tag != "Request":
            raise Refusal(
                "InvalidContent", f"The root element is <{root.tag[:40]}>; it must be <Request>."
            )
        operations = root.findall("Operation")
        top_tag = xml.value(root, "Tag")
        multi = not top_tag and any(xml.value(operation, "Tag") for operation in operations)
        if not 1 <= len(operations) <= MAX_OPERATIONS or (len(operations) > 1 and not multi):
            raise invalid_argument(
                "A request has one Operation, or (without a Tag of its own) "
                f"1 to {MAX_OPERATIONS} that each have a Tag."
            )
        key = xml.text(root.find("Input"), "Object")
        if not key:
            raise invalid_argument("Input/Object is required: the key of the media object.")
        callback = _callback(root)
        drafts = []
        for operation in operations:
            tag = xml.value(operation, "Tag") if multi else top_tag
            if tag != TAG:
                raise invalid_argument(f"Tag is {tag[:40]!r}; this service does {TAG} jobs only.")
            request = self._request(operation, callback, multi=multi)
            check_objects(key, request)
            level = xml.value(operation, "JobLevel") or xml.value(root, "JobLevel") or "0"
            if level not in {"0", "1", "2"}:
                raise invalid_argument(f"JobLevel is {level[:40]!r}; it must be 0, 1 or 2.")
            drafts.append(Draft(key, int(level), request))
        return xml.value(root, "QueueId"), drafts

    def _request(self, node: Node, callback: dict[str, str], *, multi: bool) -> JobRequest:
        output, names = _output(node)
        template_id, inline = xml.value(node, "TemplateId"), node.find("VoiceSeparate")
        template_name = ""
        if template_id:
            template = self._find_template(template_id)
            template_id, template_name = template.template_id, template.name
            sound = replace(template.sound, echo={})
        elif inline is not None:
            sound = read_sound(inline, mode_required=False)
        else:
            raise invalid_argument("Operation needs a TemplateId or a VoiceSeparate element.")
        return JobRequest(
            output=output,
            names=names,
            sound=sound,
            template_id=template_id,
            template_name=template_name,
            user_data=checked_user_data(xml.text(node, "UserData")),
            callback=callback,
            multi=multi,
        )


def _check_key(what: str, key: str) -> None:
    fault = keys.fault_of(key)
    if fault or key.endswith("/") or len(key.encode()) > keys.MAX_KEY_BYTES:
        fault = fault or "it is too long, or ends with a slash"
        raise invalid_argument(f"{what} {key[:80]!r} cannot be an object's key: {fault}.")


def _output(operation: Node) -> tuple[dict[str, str], dict[str, str]]:
    """Return the nodes of ``Output`` as sent, and the pattern of each stem."""
    output = operation.find("Output")
    if output is None:
        raise invalid_argument("Operation/Output is required.")
    region, bucket = xml.value(output, "Region"), xml.value(output, "Bucket")
    _check_target(region, bucket)
    echo, names = dict(zip(TARGET_NODES, (region, bucket), strict=True)), {}
    for stem, node in ECHOED:
        text = output.findtext(node)
        if text:
            echo[node] = names[stem] = text
    if "voice" not in names and "background" not in names:
        raise invalid_argument("Output/Object and Output/AuObject must not both be empty.")
    return echo, names


@functools.lru_cache(256)  # the jobs of a library have one of them
def _check_target(region: str, bucket: str) -> None:
    if not region or not bucket:
        raise invalid_argument("Output/Region and Output/Bucket are required.")
    if not BUCKET.fullmatch(bucket):
        raise invalid_argument(
            f"Output/Bucket {bucket[:80]!r} is not a bucket name such as media-1250000000."
        )
    if not regions.is_known(region):
        raise invalid_argument(
            f"Output/Region {region[:40]!r} is not a region, such as ap-chongqing."
        )


_SOME_ID = "j" + "0" * 32


def check_objects(key: str, request: JobRequest) -> None:
    """Check that every name is a valid key, and that no two stems have the same one.

    Raises:
        Refusal: ``InvalidArgument``.
    """
    names = expand(request, _SOME_ID)
    if not names:
        made = " and ".join(request.sound.stems)
        mode = request.sound.mode
        raise invalid_argument(f"AudioMode {mode} makes {made}, but Output names no object for it.")
    if not keys.are_plain("/".join((key, *names.values()))):
        _check_key("Input/Object", key)
        for name in names.values():
            _check_key("Output name", name)
    if len(set(names.values())) < len(names):
        raise invalid_argument(
            "Two stems would be written to the same object: give each its own name."
        )


def checked_user_data(text: str) -> str:
    """Return UserData.

    Raises:
        Refusal: ``InvalidArgument``.
    """
    if len(text) > MAX_USER_DATA or not (text.isascii() and text.isprintable()):
        raise invalid_argument(
            f"UserData must be printable ASCII of at most {MAX_USER_DATA} characters."
        )
    return text


def _callback(root: Node) -> dict[str, str]:
    """Return the checked callback settings of a request; empty if it has none."""
    settings = {name: text for name in _CALLBACK_NODES if (text := xml.value(root, name))}
    if not settings:
        return settings
    url = settings.get("CallBack", "")
    if url and url != "no" and not url.lower().startswith(("http://", "https://")):
        raise invalid_argument("CallBack must be an http or https address, or no.")
    if settings.get("CallBackFormat", "XML") not in {"XML", "JSON"}:
        raise invalid_argument("CallBackFormat must be XML or JSON.")
    kind = settings.get("CallBackType", "Url")
    if kind not in {"Url", "TDMQ"}:
        raise invalid_argument("CallBackType must be Url or TDMQ.")
    if kind == "TDMQ":
        mq = root.find("CallBackMqConfig")
        queue = {name: xml.value(mq, name) for name in _MQ_NODES}
        check_message_queue(queue)
        settings |= queue
    return settings


def check_message_queue(queue: dict[str, str]) -> None:
    """Check the message-queue settings of a request or of a queue's NotifyConfig.

    Raises:
        Refusal: ``InvalidArgument``.
    """
    if queue["MqRegion"] not in {"sh", "bj", "gz", "cd", "hk"}:
        raise invalid_argument("MqRegion must be one of sh, bj, gz, cd, hk.")
    if queue["MqMode"] not in {"Queue", "Topic"}:
        raise invalid_argument("MqMode must be Queue or Topic.")
    if not queue["MqName"]:
        raise invalid_argument("MqName is required.")
