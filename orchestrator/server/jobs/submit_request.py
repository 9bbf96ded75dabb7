"""``POST /jobs``: what a client asks for, checked as the vendor's pages say, kept in the form that answers need."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.domain.audio_formats import check_audio, extension
from orchestrator.domain.spec import AudioConfig, AudioMode
from orchestrator.server.http.errors import Refusal
from orchestrator.server.http.request import BUCKET
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
"""Stem -> node of ``Output``, in the order of the vendor's MediaResult."""

_WILDCARD = re.compile(r"\$\{(ext|jobid)\}", re.IGNORECASE)  # workflows spell them ${Ext}, ${Jobid}
_NUMBERS = {"Samplerate": "samplerate", "Bitrate": "bitrate", "Channels": "channels"}
_CALLBACK_NODES = ("CallBack", "CallBackFormat", "CallBackType")
_MQ_NODES = ("MqRegion", "MqMode", "MqName")


def invalid(message: str) -> Refusal:
    """``InvalidArgument`` with that message."""
    return Refusal("InvalidArgument", message)


@dataclass(frozen=True, slots=True)
class Sound:
    """``AudioMode`` and ``AudioConfig``, checked, and the nodes to echo them."""

    mode: AudioMode
    audio: AudioConfig
    echo: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Template:
    """A stored template."""

    template_id: str
    name: str
    sound: Sound


@dataclass(slots=True)
class Draft:
    """One job that is asked for.

    Attributes:
        level: JobLevel.
        request: What is stored with the job: ``output`` (nodes as sent), ``inline`` (echo) or ``template_id`` and ``template_name``,
            ``mode``, ``audio``, ``names`` (pattern by stem), ``user_data``, ``callback``, ``multi``.
    """

    level: int
    request: dict[str, Any] = field(default_factory=dict)

    @property
    def output_bucket(self) -> str:
        """Bucket that the stems go to."""
        bucket: str = self.request["output"]["Bucket"]
        return bucket

    def names(self, job_id: str) -> dict[str, str]:
        """Object key by stem, with the wildcards filled in."""
        return expand(self.request, job_id)


def expand(request: dict[str, Any], job_id: str) -> dict[str, str]:
    """The stems that the mode makes and that have a name, with ``${ext}`` and ``${jobid}`` filled in."""
    values = {"ext": extension(request["audio"]["codec"]), "jobid": job_id}
    made = {stem.value for stem in AudioMode(request["mode"]).stems}
    return {
        stem: _WILDCARD.sub(lambda match: values[match[1].lower()], pattern)
        for stem, pattern in request["names"].items()
        if stem in made
    }


def read_sound(node: Node, *, mode_required: bool) -> Sound:
    """``AudioMode`` and ``AudioConfig`` below a node (of a job, or of a template).

    Raises:
        Refusal: ``InvalidArgument``.
    """
    text = node.value("AudioMode")
    if mode_required and not text:
        raise invalid(
            "AudioMode is required: IsAudio, IsBackground, AudioAndBackground or MusicMode."
        )
    try:
        mode = AudioMode(text or AudioMode.AUDIO_AND_BACKGROUND)
    except ValueError:
        raise invalid(
            f"AudioMode {text[:40]!r} is none of IsAudio, IsBackground, AudioAndBackground, MusicMode."
        ) from None
    audio = node.get("AudioConfig")
    echo: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for name in ("Codec", "Samplerate", "Bitrate", "Channels"):
        value = audio.value(name) if audio else ""
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
    """Reads the body of a submit."""

    def __init__(self, find_template: Callable[[str], Template], *, inline_required: bool) -> None:
        self._find_template = find_template
        self._inline_required = inline_required

    def read(self, root: Node) -> tuple[str, str, list[Draft]]:
        """``(input key, queue id or empty, drafts)``; all operations are good, or none is taken.

        Raises:
            Refusal: ``InvalidArgument``, ``TemplateNotFound``.
        """
        if root.name != "Request":
            raise Refusal(
                "InvalidContent", f"The root element is <{root.name[:40]}>; it must be <Request>."
            )
        operations = root.all("Operation")
        top_tag = root.value("Tag")
        multi = not top_tag and any(operation.value("Tag") for operation in operations)
        if not 1 <= len(operations) <= MAX_OPERATIONS or (len(operations) > 1 and not multi):
            raise invalid(
                f"A request has one Operation, or (without a Tag of its own) 1 to {MAX_OPERATIONS} that each have a Tag."
            )
        key = self._input(root)
        callback = _callback(root)
        drafts = []
        for operation in operations:
            self._check_tag(operation.value("Tag") if multi else top_tag)
            drafts.append(self._operation(operation, root, callback, multi=multi))
        return key, root.value("QueueId"), drafts

    @staticmethod
    def _check_tag(tag: str) -> None:
        if tag != TAG:
            raise invalid(f"Tag is {tag[:40]!r}; this service does {TAG} jobs only.")

    @staticmethod
    def _input(root: Node) -> str:
        key = root.get("Input", "Object")
        text = key.text if key else ""
        if not text:
            raise invalid("Input/Object is required: the key of the media object.")
        fault = keys.fault_of(text)
        if fault or text.endswith("/") or len(text.encode()) > keys.MAX_KEY_BYTES:
            raise invalid(
                f"Input/Object {text[:80]!r} cannot be an object's key: {fault or 'it is too long, or ends with a slash'}."
            )
        return text

    def _operation(self, node: Node, root: Node, callback: dict[str, str], *, multi: bool) -> Draft:
        output, names = _output(node)
        request: dict[str, Any] = {"output": output, "names": names}
        template_id, inline = node.value("TemplateId"), node.get("VoiceSeparate")
        if template_id:
            template = self._find_template(template_id)
            request |= {"template_id": template.template_id, "template_name": template.name}
            sound = template.sound
        elif inline is not None:
            sound = read_sound(inline, mode_required=False)
            request["inline"] = sound.echo
        elif self._inline_required:
            raise invalid("Operation needs a TemplateId or a VoiceSeparate element.")
        else:
            sound = Sound(AudioMode.AUDIO_AND_BACKGROUND, AudioConfig(), {})
        request["mode"] = sound.mode.value
        audio = sound.audio
        request["audio"] = {
            "codec": audio.codec,
            "samplerate": audio.samplerate,
            "bitrate": audio.bitrate,
            "channels": audio.channels,
        }
        user_data = node.get("UserData")
        if user_data is not None and user_data.text:
            request["user_data"] = _user_data(user_data.text)
        if callback:
            request["callback"] = callback
        if multi:
            request["multi"] = True
        _check_names(request)
        return Draft(_level(node.value("JobLevel") or root.value("JobLevel")), request)


def _output(operation: Node) -> tuple[dict[str, str], dict[str, str]]:
    """The nodes of ``Output`` as sent, and the pattern of each stem."""
    output = operation.get("Output")
    if output is None:
        raise invalid("Operation/Output is required.")
    region, bucket = output.value("Region"), output.value("Bucket")
    if not region or not bucket:
        raise invalid("Output/Region and Output/Bucket are required.")
    if not BUCKET.fullmatch(bucket):
        raise invalid(
            f"Output/Bucket {bucket[:80]!r} is not a bucket name such as media-1250000000."
        )
    texts = {
        stem: (found.text if (found := output.get(node)) else "")
        for stem, node in STEM_NODES.items()
    }
    names = {stem: text for stem, text in texts.items() if text}
    if "voice" not in names and "background" not in names:
        raise invalid("Output/Object and Output/AuObject must not both be empty.")
    echo = {
        STEM_NODES[stem]: text
        for stem, text in sorted(names.items(), key=lambda item: STEM_NODES[item[0]], reverse=True)
    }
    return {"Region": region, "Bucket": bucket, **echo}, names


def _check_names(request: dict[str, Any]) -> None:
    """Every name must be a key, and no two stems may go to the same one."""
    names = expand(request, "j" + "0" * 32)
    if not names:
        made = " and ".join(stem.value for stem in AudioMode(request["mode"]).stems)
        raise invalid(
            f"AudioMode {request['mode']} makes {made}, but Output names no object for it."
        )
    for name in names.values():
        fault = keys.fault_of(name)
        if fault or name.endswith("/") or len(name.encode()) > keys.MAX_KEY_BYTES:
            raise invalid(
                f"Output name {name[:80]!r} cannot be an object's key: {fault or 'it is too long, or ends with a slash'}."
            )
    if len(set(names.values())) < len(names):
        raise invalid("Two stems would be written to the same object: give each a name of its own.")


def _level(text: str) -> int:
    if text not in {"", "0", "1", "2"}:
        raise invalid(f"JobLevel is {text[:40]!r}; it must be 0, 1 or 2.")
    return int(text or "0")


def _user_data(text: str) -> str:
    if len(text) > MAX_USER_DATA or not (text.isascii() and text.isprintable()):
        raise invalid(f"UserData must be printable ASCII of at most {MAX_USER_DATA} characters.")
    return text


def _callback(root: Node) -> dict[str, str]:
    """The callback settings of a request, checked; empty if it has none."""
    settings = {name: root.value(name) for name in _CALLBACK_NODES if root.value(name)}
    url = settings.get("CallBack", "")
    if url and url != "no" and not url.lower().startswith(("http://", "https://")):
        raise invalid("CallBack must be an http or https address, or no.")
    if settings.get("CallBackFormat", "XML") not in {"XML", "JSON"}:
        raise invalid("CallBackFormat must be XML or JSON.")
    kind = settings.get("CallBackType", "Url")
    if kind not in {"Url", "TDMQ"}:
        raise invalid("CallBackType must be Url or TDMQ.")
    queue = {name: root.value("CallBackMqConfig", name) for name in _MQ_NODES}
    if kind == "TDMQ":
        check_message_queue(queue)
        settings |= queue
    return settings


def check_message_queue(queue: dict[str, str]) -> None:
    """Check the settings of a message queue (of a request, or of a queue's NotifyConfig).

    Raises:
        Refusal: ``InvalidArgument``.
    """
    if queue["MqRegion"] not in {"sh", "bj", "gz", "cd", "hk"}:
        raise invalid("MqRegion must be one of sh, bj, gz, cd, hk.")
    if queue["MqMode"] not in {"Queue", "Topic"}:
        raise invalid("MqMode must be Queue or Topic.")
    if not queue["MqName"]:
        raise invalid("MqName is required.")
