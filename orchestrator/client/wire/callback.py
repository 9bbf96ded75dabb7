"""Callbacks: a POST of the service per ended job, XML or JSON (page "callback-VoiceSeparate").

A callback is not authenticated: it is a hint to ask for that job sooner, never a result.
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
"""Largest callback body; the samples are below 10 kB."""
_MAX_DEPTH = 20  # the documented bodies nest six deep


def callback_jobs(raw: bytes) -> tuple[RemoteJob, ...]:
    """Return the jobs of a callback body: one, as documented, or none for the end of a workflow.

    The first character decides the format: no page names the Content-Type of a JSON callback.

    Raises:
        ProtocolError: If it is neither XML nor JSON, or too large.
    """
    if len(raw) > MAX_CALLBACK_BYTES:
        raise ProtocolError(f"The callback is larger than {MAX_CALLBACK_BYTES} bytes.", raw)
    root = _from_json(raw) if raw.lstrip()[:1] == b"{" else parse(raw, is_lenient=True)
    if root.tag != "Response":
        raise ProtocolError(
            f"The callback begins with <{root.tag[:100]}> instead of <Response>.", raw
        )
    return tuple(jobs_of(root))


def _from_json(raw: bytes) -> Element:
    """Return the XML equivalent of a JSON body, so that one reader handles both.

    The vendor's JSON collapses elements: a single one is a bare value, a repeated one is an array,
    an empty one is missing.
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
