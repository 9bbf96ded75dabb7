"""What the service POSTs when a job ends, as XML or JSON (page "callback-VoiceSeparate").

A callback is not authenticated: what it says is a hint to ask for that job sooner, never a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, SubElement

import orjson

from orchestrator.client.wire.reply import jobs_of
from orchestrator.client.wire.xml import parse
from orchestrator.errors import ProtocolError

if TYPE_CHECKING:
    from orchestrator.domain.remote import RemoteJob

MAX_CALLBACK_BYTES = 1 << 20
"""Largest callback body; the samples have less than 10 kB."""
_MAX_DEPTH = 20  # the documented bodies nest six deep


def callback_jobs(raw: bytes) -> tuple[RemoteJob, ...]:
    """The jobs that a callback body tells about: one, as documented; none for the end of a workflow.

    Which of the two formats it is, is seen by its first character: no page says which Content-Type a JSON callback has.

    Raises:
        ProtocolError: If it is neither, or too large.
    """
    if len(raw) > MAX_CALLBACK_BYTES:
        raise ProtocolError(f"The callback is larger than {MAX_CALLBACK_BYTES} bytes.", raw)
    root = _from_json(raw) if raw.lstrip()[:1] == b"{" else parse(raw)
    if root.tag != "Response":
        raise ProtocolError(
            f"The callback begins with <{root.tag[:100]}> instead of <Response>.", raw
        )
    return tuple(jobs_of(root, raw))


def _from_json(raw: bytes) -> Element:
    """The JSON body as the XML that it stands for, so that one reader understands both.

    The vendor collapses: an element that occurs once is a bare value, one that repeats is an array, an empty one is left out.
    """
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProtocolError(f"The callback is not JSON: {error}.", raw) from error
    root = Element("Response")
    _fill(root, data, _MAX_DEPTH, raw)
    return root


def _fill(parent: Element, data: dict[str, Any], depth: int, raw: bytes) -> None:
    if depth == 0:
        raise ProtocolError("The callback is nested too deeply.", raw)
    for name, value in data.items():
        for item in value if isinstance(value, list) else [value]:
            node = SubElement(parent, name)
            if isinstance(item, dict):
                _fill(node, item, depth - 1, raw)
            elif item is not None:
                node.text = str(item)
