"""Bytes to an XML tree, safely: no document type, no entities, no external references, bounded size."""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError, XMLParser

from orchestrator.errors import ProtocolError

MAX_REPLY_BYTES = 8 << 20
"""Largest answer that is read: a full page of 1,000 keys of 850 bytes, url-encoded threefold, with its other nodes, is about 3.5 MB."""


def parse(raw: bytes) -> Element:
    """The root element of a reply.

    Raises:
        ProtocolError: If it is too large, not UTF-8, not well formed, or carries a document type or entities.
    """
    if len(raw) > MAX_REPLY_BYTES:
        raise ProtocolError(f"The service's answer is larger than {MAX_REPLY_BYTES} bytes.", raw)
    # No XML in UTF-8 holds a zero byte, while all in UTF-16 does: without this, that encoding could hide what is looked for next.
    if b"\0" in raw:
        raise ProtocolError(
            "The service's answer is not the XML that was expected: it holds zero bytes.", raw
        )
    try:
        # A document type, and with it every entity and external reference, begins with these two characters. Without them the C parser
        # is as safe as the defused one, and takes a third of its time. UTF-8 is forced on both, whatever encoding the answer declares.
        return _defused(raw.decode("utf-8-sig")) if b"<!" in raw else _plain(raw)
    except (
        ParseError,
        ValueError,
    ) as error:  # UnicodeDecodeError and defusedxml's own exceptions are ValueErrors
        raise ProtocolError(
            f"The service's answer is not the XML that was expected: {error}.", raw
        ) from error


def _plain(raw: bytes) -> Element:
    parser = XMLParser(encoding="utf-8")  # noqa: S314 - see above
    parser.feed(raw)
    root: Element = parser.close()
    return root


def _defused(text: str) -> Element:
    """For documents with comments, CDATA, or declarations, of which only the first two are let through."""
    from defusedxml.ElementTree import fromstring

    root: Element = fromstring(text, forbid_dtd=True)
    return root


def text_of(parent: Element | None, name: str) -> str:
    """The text of a child, or empty if the child is missing, empty, or holds other elements only."""
    found = parent.find(name) if parent is not None else None
    return (found.text or "") if found is not None else ""
