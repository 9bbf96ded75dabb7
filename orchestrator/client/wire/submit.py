"""``POST /jobs``, signed: a job spec as the vendor's XML (submit pages 1045/48946, 1045/73370).

This is the hot path of sending, so the submits to one bucket share all that they can.
"""

from __future__ import annotations

import hmac
import re
from functools import lru_cache
from hashlib import sha1
from typing import TYPE_CHECKING

from orchestrator.client.wire.hosts import Api, host
from orchestrator.client.wire.request import JOB_TYPE, PreparedRequest
from orchestrator.client.wire.signature import authorization, canonical
from orchestrator.domain.spec import AudioConfig
from orchestrator.errors import ApiAnswer, Rejected

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.client.wire.signature import SigningKey
    from orchestrator.domain.spec import Callback, JobSpec, Operation, Output, Place

_SERVICE_DEFAULTS = AudioConfig()
_CONTENT_TYPE = "application/xml"
# Characters outside XML 1.0 section 2.2, Char. They are not allowed even as escapes.
_unsendable = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]").search


class SubmitForm:
    """The part that every ``POST /jobs`` to one bucket shares while one signing key is in use.

    The requests have no ``Content-MD5``, as in most of the vendor's SDKs: TLS guards the body,
    and each header costs time.

    Args:
        place: The bucket.
        key: Key of the present period.
        base_url: URL to send to instead of the vendor's https host.

    Raises:
        ConfigError: If the bucket or the region cannot be part of a host name.
    """

    def __init__(self, place: Place, key: SigningKey, base_url: str | None = None) -> None:
        name = host(Api.CI, place)
        token = {Api.CI.token_header: key.token} if key.token else {}
        self._url = f"{base_url or 'https://' + name}/jobs"
        self._headers = {"host": name, "content-type": _CONTENT_TYPE, **token}
        # Sign with an empty length: only this value differs between the jobs.
        headers = {"content-length": "", **self._headers}
        text = canonical("POST", "/jobs", {}, headers).text
        before, name_of_length, self._after = text.partition("content-length=")
        self._before = before + name_of_length
        signed = authorization(key, "POST", "/jobs", {}, headers)
        self._authorization = signed.rpartition("=")[0] + "="
        self._mac = hmac.new(key.key, f"sha1\n{key.key_time}\n".encode(), "sha1")

    def prepare(self, spec: JobSpec) -> PreparedRequest:
        """Return the signed request for one job of this bucket.

        Raises:
            Rejected: If the spec cannot be expressed; see :func:`submit_body`.
        """
        body = submit_body(spec)
        length = str(len(body))
        text = self._before + length + self._after
        mac = self._mac.copy()
        mac.update(f"{sha1(text.encode(), usedforsecurity=False).hexdigest()}\n".encode())
        headers = {
            **self._headers,
            "content-length": length,
            "authorization": self._authorization + mac.hexdigest(),
        }
        return PreparedRequest("POST", self._url, headers, body)


def unsendable(text: str) -> str:
    """Return the reason why XML cannot carry ``text``, or the empty string if it can."""
    found = _unsendable(text)
    if not found:
        return ""
    place = found.start() + 1
    return f"the character U+{ord(found[0]):04X} at position {place} cannot be sent in XML"


def submit_body(spec: JobSpec) -> bytes:
    """Return the XML of one job.

    Raises:
        Rejected: If the spec cannot be expressed: it holds a character that XML cannot carry, or
            both a template and inline parameters, or neither. Nothing was sent; the message
            names the object and the reason.
    """
    operation, fault = _operation(spec.operation)
    key, data, output = spec.media.key, spec.wire_user_data, spec.output
    # Check all of them at once: nearly every job has nothing to escape.
    stems = f"{output.background} {output.voice} {output.bass} {output.drums}"
    texts = f"{key} {data} {stems} {output.region} {output.bucket}"
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
        why, where = fault or settings_fault, str(spec.origin) or "the job"
        message = f"{spec.media.key!r}: {why}; nothing was sent. Correct {where}."
        raise Rejected(ApiAnswer(code="NotSendable", message=message))
    return (
        f"<Request><Tag>{JOB_TYPE}</Tag><Input><Object>{text(key)}</Object></Input>"
        f"<Operation>{operation}<Output><Region>{text(output.region)}</Region>"
        f"<Bucket>{text(output.bucket)}</Bucket>{_stems(output, text)}</Output>"
        f"<UserData>{text(data)}</UserData><JobLevel>{spec.level}</JobLevel></Operation>"
        f"{settings}</Request>"
    ).encode()


# A manifest has a handful of operations and callbacks, whatever the number of its jobs.


@lru_cache(maxsize=256)
def _operation(operation: Operation) -> tuple[str, str]:
    """Return the nodes of an operation, and its fault or the empty string."""
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
    """Return the nodes behind the operation, and their fault or the empty string."""
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
    """Return ``<name>value</name>``, or nothing for a value that is not set."""
    return "" if value is None or value == "" else f"<{name}>{_text(str(value))}</{name}>"


def _text(value: str) -> str:
    """Escape element content; a parser would turn a bare carriage return into a line feed."""
    return (
        value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    )


def _fault(*texts: str) -> str:
    """Return the first reason why one of these texts cannot be sent, or the empty string."""
    return next(filter(None, map(unsendable, texts)), "")
