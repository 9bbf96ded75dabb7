"""The body of ``POST /jobs``: a job spec as the vendor's XML (submit pages 1045/48946 and 1045/73370)."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from orchestrator.domain.spec import AudioConfig
from orchestrator.errors import ApiAnswer, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.domain.spec import Callback, JobSpec, Operation, Output

JOB_TYPE = "VoiceSeparate"
"""The vendor's ``Tag`` of the jobs that this program makes."""

_SERVICE_DEFAULTS = AudioConfig()
# XML 1.0 section 2.2, Char: these cannot stand in a document, not even escaped.
_unsendable = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]").search


def unsendable(text: str) -> str:
    """Why ``text`` cannot stand in a request, or empty if it can: XML has no way to carry some control characters."""
    found = _unsendable(text)
    return (
        f"the character U+{ord(found[0]):04X} at position {found.start() + 1} cannot be sent in XML"
        if found
        else ""
    )


def submit_body(spec: JobSpec) -> bytes:
    """The XML of one job.

    Raises:
        Rejected: If the spec cannot be expressed: a character that XML cannot carry, a template *and* inline parameters, or neither.
            Nothing was sent; the message names the object and the reason.
    """
    operation, fault = _operation(spec.operation)
    key, data, output = spec.media.key, spec.wire_user_data, spec.output
    # One look at all of them: nearly every job has nothing to escape.
    texts = f"{key} {data} {output.background} {output.voice} {output.bass} {output.drums} {output.region} {output.bucket}"
    text: Callable[[str], str] = str
    if not texts.isprintable() or "&" in texts or "<" in texts or ">" in texts:
        text, fault = (
            _text,
            fault or _fault(key, data, *output.names().values(), output.region, output.bucket),
        )
    settings, settings_fault = (
        _settings(spec.queue_id, spec.callback) if spec.queue_id or spec.callback else ("", "")
    )
    if fault or settings_fault:
        raise _refuse(spec, fault or settings_fault)
    return (
        f"<Request><Tag>{JOB_TYPE}</Tag><Input><Object>{text(key)}</Object></Input><Operation>{operation}"
        f"<Output><Region>{text(output.region)}</Region><Bucket>{text(output.bucket)}</Bucket>{_stems(output, text)}</Output>"
        f"<UserData>{text(data)}</UserData><JobLevel>{spec.level}</JobLevel></Operation>{settings}</Request>"
    ).encode()


# A manifest has a handful of operations and callbacks, whatever the number of its jobs.


@lru_cache(maxsize=256)
def _operation(operation: Operation) -> tuple[str, str]:
    """The nodes of an operation, and what is wrong with it."""
    mode, audio = operation.audio_mode, operation.audio
    inline = mode is not None or audio != _SERVICE_DEFAULTS
    if bool(operation.template_id) == inline:
        return "", "give either a template id or inline parameters" + (
            ", not both" if inline else ""
        )
    if operation.template_id:
        return _node("TemplateId", operation.template_id), _fault(operation.template_id)
    rates = _node("Samplerate", audio.samplerate) + _node("Bitrate", audio.bitrate)
    config = _node("Codec", audio.codec) + rates + _node("Channels", audio.channels)
    nodes = _node("AudioMode", mode and mode.value) + (
        f"<AudioConfig>{config}</AudioConfig>" if config else ""
    )
    return f"<VoiceSeparate>{nodes}</VoiceSeparate>", _fault(audio.codec or "")


@lru_cache(maxsize=256)
def _settings(queue_id: str, callback: Callback | None) -> tuple[str, str]:
    """The nodes behind the operation, and what is wrong with them."""
    nodes, texts = _node("QueueId", queue_id), [queue_id]
    if callback:
        queue = (
            _node("MqRegion", callback.mq_region)
            + _node("MqMode", callback.mq_mode)
            + _node("MqName", callback.mq_name)
        )
        nodes += (
            _node("CallBack", callback.url)
            + _node("CallBackFormat", callback.format)
            + _node("CallBackType", callback.type)
        )
        nodes += f"<CallBackMqConfig>{queue}</CallBackMqConfig>" if queue else ""
        texts += [
            callback.url,
            callback.format,
            callback.type,
            callback.mq_region,
            callback.mq_mode,
            callback.mq_name,
        ]
    return nodes, _fault(*texts)


def _stems(output: Output, text: Callable[[str], str]) -> str:
    nodes = f"<Object>{text(output.background)}</Object>" if output.background else ""
    if output.voice:
        nodes += f"<AuObject>{text(output.voice)}</AuObject>"
    if output.bass:
        nodes += f"<BassObject>{text(output.bass)}</BassObject>"
    if output.drums:
        nodes += f"<DrumObject>{text(output.drums)}</DrumObject>"
    return nodes


def _node(name: str, value: str | int | None) -> str:
    """``<name>value</name>``, or nothing for a value that is not set."""
    return "" if value is None or value == "" else f"<{name}>{_text(str(value))}</{name}>"


def _text(value: str) -> str:
    """``value`` as element content; a carriage return must be escaped, or a parser turns it into a line feed."""
    return (
        value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    )


def _fault(*texts: str) -> str:
    """The first reason why one of these texts cannot be sent, or empty."""
    return next(filter(None, map(unsendable, texts)), "")


def _refuse(spec: JobSpec, why: str) -> Rejected:
    where = str(spec.origin) or "the job"
    return Rejected(
        ApiAnswer(
            code="NotSendable",
            message=f"{spec.media.key!r}: {why}; nothing was sent. Correct {where}.",
        )
    )
