"""The body of ``POST /jobs``: a job spec as the vendor's XML (submit pages 1045/48946 and 1045/73370)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from orchestrator.errors import ApiAnswer, Rejected
from orchestrator.model import AudioConfig

if TYPE_CHECKING:
    from orchestrator.model import Callback, JobSpec, Operation, Output

JOB_TYPE = "VoiceSeparate"
"""The vendor's ``Tag`` of the jobs that this program makes."""

_SERVICE_DEFAULTS = AudioConfig()
_special = re.compile("[&<>\r]").search
# XML 1.0 section 2.2, Char: these cannot stand in a document, not even escaped.
_unsendable = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]").search


def unsendable(text: str) -> str:
    """Why ``text`` cannot stand in a request, or empty if it can: XML has no way to carry some control characters."""
    found = _unsendable(text)
    return f"the character U+{ord(found[0]):04X} at position {found.start() + 1} cannot be sent in XML" if found else ""


def _refuse(spec: JobSpec, why: str) -> Rejected:
    where = str(spec.origin) or "the job"
    return Rejected(ApiAnswer(code="NotSendable", message=f"{spec.media.key!r}: {why}; nothing was sent. Correct {where}."))


def _text(value: str) -> str:
    """``value`` as element content; a carriage return must be escaped, or a parser turns it into a line feed."""
    if not _special(value):
        return value
    return value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")


def _node(name: str, value: str | int | None) -> str:
    """``<name>value</name>``, or nothing for a value that is not set."""
    return "" if value is None or value == "" else f"<{name}>{_text(str(value))}</{name}>"


def _audio(audio: AudioConfig) -> str:
    rates = _node("Samplerate", audio.samplerate) + _node("Bitrate", audio.bitrate)
    nodes = _node("Codec", audio.codec) + rates + _node("Channels", audio.channels)
    return f"<AudioConfig>{nodes}</AudioConfig>" if nodes else ""


def _operation(operation: Operation) -> str:
    if operation.template_id:
        return f"<TemplateId>{_text(operation.template_id)}</TemplateId>"
    mode = operation.audio_mode
    return f"<VoiceSeparate>{_node('AudioMode', mode.value if mode else None)}{_audio(operation.audio)}</VoiceSeparate>"


def _output(output: Output) -> str:
    return (
        f"<Output><Region>{output.region}</Region><Bucket>{output.bucket}</Bucket>{_node('Object', output.background)}"
        f"{_node('AuObject', output.voice)}{_node('BassObject', output.bass)}{_node('DrumObject', output.drums)}</Output>"
    )


def _callback(callback: Callback | None) -> str:
    if callback is None:
        return ""
    queue = _node("MqRegion", callback.mq_region) + _node("MqMode", callback.mq_mode) + _node("MqName", callback.mq_name)
    return (
        _node("CallBack", callback.url)
        + _node("CallBackFormat", callback.format)
        + _node("CallBackType", callback.type)
        + (f"<CallBackMqConfig>{queue}</CallBackMqConfig>" if queue else "")
    )


def submit_body(spec: JobSpec) -> bytes:
    """The XML of one job.

    Raises:
        Rejected: If the spec cannot be expressed: a character that XML cannot carry, a template *and* inline parameters, or neither.
            Nothing was sent; the message names the object and the reason.
    """
    operation = spec.operation
    inline = operation.audio_mode is not None or operation.audio != _SERVICE_DEFAULTS
    if bool(operation.template_id) == inline:
        raise _refuse(spec, "give either a template id or inline parameters" + (", not both" if inline else ""))
    body = (
        f"<Request><Tag>{JOB_TYPE}</Tag><Input><Object>{_text(spec.media.key)}</Object></Input><Operation>{_operation(operation)}"
        f"{_output(spec.output)}<UserData>{_text(spec.wire_user_data)}</UserData><JobLevel>{spec.level}</JobLevel></Operation>"
        f"{_node('QueueId', spec.queue_id)}{_callback(spec.callback)}</Request>"
    )
    if _unsendable(body):
        raise _refuse(spec, next(filter(None, map(unsendable, _texts(spec)))))
    return body.encode()


def _texts(spec: JobSpec) -> tuple[str, ...]:
    """Every text of a spec that reaches the body, to name the guilty one."""
    call = spec.callback
    output = spec.output
    mq = (call.url, call.format, call.type, call.mq_region, call.mq_mode, call.mq_name) if call else ()
    return (
        spec.media.key, spec.wire_user_data, *output.names().values(), output.region, output.bucket,
        spec.operation.template_id, spec.operation.audio.codec or "", spec.queue_id, *mq,
    )  # fmt: skip
