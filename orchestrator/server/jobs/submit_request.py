"""Parser of ``POST /jobs``: checks the body as the vendor's pages demand."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.domain import regions
from orchestrator.domain.audio_formats import check_audio, extension
from orchestrator.domain.spec import AudioConfig, AudioMode
from orchestrator.domain.wording import listed
from orchestrator.server.http import xml
from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.request import BUCKET
from orchestrator.server.jobs.row import JobRequest
from orchestrator.server.storage import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.server.http.xml import Node

TAG = "VoiceSeparate"
MAX_OPERATIONS = 6  # the vendor's MultiJobs page
MAX_USER_DATA = 1024  # printable ASCII, as the vendor's sibling jobs state it
STEM_NODES = {
    "voice": "AuObject",
    "background": "Object",
    "bass": "BassObject",
    "drums": "DrumObject",
}
"""Node of ``Output`` by stem, in the order of the vendor's MediaResult."""

_ECHOED = sorted(STEM_NODES.items(), key=lambda item: item[1], reverse=True)
"""The same, in the order of the vendor's echo of ``Output``."""

_WILDCARD = re.compile(r"\$\{(ext|jobid)\}", re.IGNORECASE)  # workflows write ${Ext}, ${Jobid}
_SOUND_NODES = ("Codec", "Samplerate", "Bitrate", "Channels")
_NUMBERS = {"Samplerate": "samplerate", "Bitrate": "bitrate", "Channels": "channels"}
_CALLBACK_NODES = ("CallBack", "CallBackFormat", "CallBackType")
_MQ_NODES = ("MqRegion", "MqMode", "MqName")


def invalid(message: str) -> Refusal:
    """Return an ``InvalidArgument`` with that message."""
    return Refusal("InvalidArgument", message)


@dataclass(frozen=True, slots=True)
class Sound:
    """Checked ``AudioMode`` and ``AudioConfig``, and the nodes that echo them."""

    mode: AudioMode
    audio: AudioConfig
    echo: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """Template of a job."""

    template_id: str
    name: str
    sound: Sound


@dataclass(slots=True)  # not frozen: that would take four times as long for every request
class Draft:
    """One requested job: its JobLevel and its request."""

    level: int
    request: JobRequest


def expand(request: JobRequest, job_id: str) -> dict[str, str]:
    """Return the key of each stem that the mode makes, with ``${ext}`` and ``${jobid}`` filled."""
    names = {}
    for stem in request.mode.stems:
        pattern = request.names.get(stem)
        if pattern is not None:
            names[stem.value] = _filled(pattern, request, job_id) if "${" in pattern else pattern
    return names


def _filled(pattern: str, request: JobRequest, job_id: str) -> str:
    values = {"ext": extension(request.audio.codec), "jobid": job_id}
    return _WILDCARD.sub(lambda match: values[match[1].lower()], pattern)


def read_sound(node: Node, *, mode_required: bool) -> Sound:
    """Parse ``AudioMode`` and ``AudioConfig`` below a node of a job or a template.

    Raises:
        Refusal: ``InvalidArgument``.
    """
    audio = node.find("AudioConfig")
    given = [xml.value(audio, name) for name in _SOUND_NODES]
    mode = xml.value(node, "AudioMode")
    if mode_required and not mode:
        raise invalid(f"AudioMode is required: {listed(AudioMode)}.")
    return _sound(mode, *given)


@functools.lru_cache(256)  # the jobs of a library have a handful of them
def _sound(text: str, *given: str) -> Sound:
    """Return the checked sound of an ``AudioMode`` and the values of ``_SOUND_NODES``."""
    try:
        mode = AudioMode(text or AudioMode.AUDIO_AND_BACKGROUND)
    except ValueError:
        raise invalid(f"AudioMode {text[:40]!r} is not valid: use {listed(AudioMode)}.") from None
    echo: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name, value in zip(_SOUND_NODES, given, strict=True):
        if value:
            echo[name] = value
            values[_NUMBERS.get(name, "codec")] = (
                _number(name, value) if name in _NUMBERS else value.lower()
            )
    config = AudioConfig(**values)
    fault = check_audio(mode, config)
    if fault:
        raise invalid(fault)
    return Sound(mode, config, {"AudioMode": mode.value, "AudioConfig": echo or None})


def _number(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8):
        raise invalid(f"{name} is {text[:40]!r}; it must be a whole number.")
    return int(text)


class Reader:
    """Parses the body of a submit."""

    def __init__(self, find_template: Callable[[str], Template]) -> None:
        self._find_template = find_template

    def read(self, root: Node) -> tuple[str, str, list[Draft]]:
        """Return ``(input key, queue id or empty, drafts)``, if every operation is valid.

        Raises:
            Refusal: ``InvalidArgument``, ``TemplateNotFound``.
        """
        if root.tag != "Request":
            raise Refusal(
                "InvalidContent", f"The root element is <{root.tag[:40]}>; it must be <Request>."
            )
        operations = root.findall("Operation")
        top_tag = xml.value(root, "Tag")
        multi = not top_tag and any(xml.value(operation, "Tag") for operation in operations)
        if not 1 <= len(operations) <= MAX_OPERATIONS or (len(operations) > 1 and not multi):
            raise invalid(
                "A request has one Operation, or (without a Tag of its own) "
                f"1 to {MAX_OPERATIONS} that each have a Tag."
            )
        key = _input_key(root)
        callback = _callback(root)
        drafts = []
        for operation in operations:
            tag = xml.value(operation, "Tag") if multi else top_tag
            if tag != TAG:
                raise invalid(f"Tag is {tag[:40]!r}; this service does {TAG} jobs only.")
            request = self._request(operation, callback, multi=multi)
            level = xml.value(operation, "JobLevel") or xml.value(root, "JobLevel") or "0"
            if level not in {"0", "1", "2"}:
                raise invalid(f"JobLevel is {level[:40]!r}; it must be 0, 1 or 2.")
            drafts.append(Draft(int(level), request))
        return key, xml.value(root, "QueueId"), drafts

    def _request(self, node: Node, callback: dict[str, str], *, multi: bool) -> JobRequest:
        output, names = _output(node)
        template_id, inline = xml.value(node, "TemplateId"), node.find("VoiceSeparate")
        template_name = ""
        if template_id:
            template = self._find_template(template_id)
            template_id, template_name = template.template_id, template.name
            sound = template.sound
        elif inline is not None:
            sound = read_sound(inline, mode_required=False)
        else:
            raise invalid("Operation needs a TemplateId or a VoiceSeparate element.")
        request = JobRequest(
            output=output,
            names=names,
            template_id=template_id,
            template_name=template_name,
            inline=None if template_id else sound.echo,
            mode=sound.mode,
            audio=sound.audio,
            user_data=_checked_user_data(xml.text(node, "UserData")),
            callback=callback,
            multi=multi,
        )
        _check_names(request)
        return request


def _input_key(root: Node) -> str:
    text = xml.text(root.find("Input"), "Object")
    if not text:
        raise invalid("Input/Object is required: the key of the media object.")
    _check_key("Input/Object", text)
    return text


def _check_key(what: str, key: str) -> None:
    fault = keys.fault_of(key)
    if fault or key.endswith("/") or len(key.encode()) > keys.MAX_KEY_BYTES:
        fault = fault or "it is too long, or ends with a slash"
        raise invalid(f"{what} {key[:80]!r} cannot be an object's key: {fault}.")


def _output(operation: Node) -> tuple[dict[str, str], dict[str, str]]:
    """Return the nodes of ``Output`` as sent, and the pattern of each stem."""
    output = operation.find("Output")
    if output is None:
        raise invalid("Operation/Output is required.")
    region, bucket = xml.value(output, "Region"), xml.value(output, "Bucket")
    _check_target(region, bucket)
    echo, names = {"Region": region, "Bucket": bucket}, {}
    for stem, node in _ECHOED:
        text = output.findtext(node)
        if text:
            echo[node] = names[stem] = text
    if "voice" not in names and "background" not in names:
        raise invalid("Output/Object and Output/AuObject must not both be empty.")
    return echo, names


@functools.lru_cache(256)  # the jobs of a library have one of them
def _check_target(region: str, bucket: str) -> None:
    if not region or not bucket:
        raise invalid("Output/Region and Output/Bucket are required.")
    if not BUCKET.fullmatch(bucket):
        raise invalid(
            f"Output/Bucket {bucket[:80]!r} is not a bucket name such as media-1250000000."
        )
    if not regions.is_known(region):
        raise invalid(f"Output/Region {region[:40]!r} is not a region, such as ap-chongqing.")


_SOME_ID = "j" + "0" * 32


def _check_names(request: JobRequest) -> None:
    """Check that every name is a valid key, and that no two stems have the same one."""
    names = expand(request, _SOME_ID)
    if not names:
        made = " and ".join(stem.value for stem in request.mode.stems)
        raise invalid(f"AudioMode {request.mode} makes {made}, but Output names no object for it.")
    for name in names.values():
        _check_key("Output name", name)
    if len(set(names.values())) < len(names):
        raise invalid("Two stems would be written to the same object: give each its own name.")


def _checked_user_data(text: str) -> str:
    if len(text) > MAX_USER_DATA or not (text.isascii() and text.isprintable()):
        raise invalid(f"UserData must be printable ASCII of at most {MAX_USER_DATA} characters.")
    return text


def _callback(root: Node) -> dict[str, str]:
    """Return the checked callback settings of a request; empty if it has none."""
    settings = {name: text for name in _CALLBACK_NODES if (text := xml.value(root, name))}
    if not settings:
        return settings
    url = settings.get("CallBack", "")
    if url and url != "no" and not url.lower().startswith(("http://", "https://")):
        raise invalid("CallBack must be an http or https address, or no.")
    if settings.get("CallBackFormat", "XML") not in {"XML", "JSON"}:
        raise invalid("CallBackFormat must be XML or JSON.")
    kind = settings.get("CallBackType", "Url")
    if kind not in {"Url", "TDMQ"}:
        raise invalid("CallBackType must be Url or TDMQ.")
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
        raise invalid("MqRegion must be one of sh, bj, gz, cd, hk.")
    if queue["MqMode"] not in {"Queue", "Topic"}:
        raise invalid("MqMode must be Queue or Topic.")
    if not queue["MqName"]:
        raise invalid("MqName is required.")
