"""Safe parsing of XML: no document type, no entities, no external references, bounded size."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, ParseError, XMLParser

from orchestrator.errors import ProtocolError

_FORBIDDEN = re.compile(
    rb"""
    [\x01-\x08\x0b\x0c\x0e-\x1f]                  # control characters
    | \xef\xbf[\xbe\xbf] | \xed[\xa0-\xbf][\x80-\xbf] # U+FFFE, U+FFFF and surrogates
    # ... and all of them as references
    | &\#0*(?:[0-8] | 1[124-9] | 2[0-9] | 3[01] | 5529[6-9] | 55[3-9]\d\d | 56\d{3} | 57[0-2]\d\d
        | 573[0-3]\d | 5734[0-3] | 6553[45]);
    | &\#x0*(?:[0-8bcef] | 1[0-9a-f] | d[89a-f][0-9a-f]{2} | fff[ef]);
    """,
    re.VERBOSE | re.IGNORECASE,
)
"""Characters that XML 1.0 forbids. One in the message of a job, perhaps of another program, must
not make the whole answer unreadable."""
MAX_REPLY_BYTES = 8 << 20
"""Largest answer that is read.

A full page of 1,000 keys of 850 bytes, three times that when url-encoded, has about 3.5 MB.
"""


def parse(raw: bytes, *, is_lenient: bool = False) -> Element:
    """Return the root element of a reply, without the characters that XML forbids.

    Args:
        raw: The reply.
        is_lenient: Replace what is not UTF-8. Text that was replaced never equals a name or a key.

    Raises:
        ProtocolError: If it is too large, not UTF-8, not well formed, or has a document type.
    """
    if len(raw) > MAX_REPLY_BYTES:
        raise ProtocolError(f"The service's answer is larger than {MAX_REPLY_BYTES} bytes.", raw)
    # XML in UTF-8 never holds a zero byte, XML in UTF-16 always does. Without this check, UTF-16
    # could hide a document type from the next one.
    if b"\0" in raw:
        raise ProtocolError(
            "The service's answer is not the XML that was expected: it holds zero bytes.", raw
        )
    text = raw
    if is_lenient and not _is_utf8(raw):
        text = raw.decode("utf-8-sig", "replace").encode()
    if _FORBIDDEN.search(text):
        text = _FORBIDDEN.sub(b"", text)
    try:
        # A document type, and with it every entity and external reference, begins with "<!".
        # Without one the C parser is as safe as the defused one, and takes a third of its time.
        # Both read UTF-8, whatever encoding the answer declares.
        return _defused(text.decode("utf-8-sig")) if b"<!" in text else _plain(text)
    # UnicodeDecodeError and defusedxml's own exceptions are ValueErrors.
    except (ParseError, ValueError) as error:
        raise ProtocolError(
            f"The service's answer is not the XML that was expected: {error}.", raw
        ) from error


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _plain(text: bytes) -> Element:
    parser = XMLParser(encoding="utf-8")  # noqa: S314 - see above
    parser.feed(text)
    root: Element = parser.close()
    return root


def _defused(text: str) -> Element:
    """Parse a document with comments or CDATA; refuse one with declarations."""
    from defusedxml.ElementTree import fromstring

    root: Element = fromstring(text, forbid_dtd=True)
    return root


def text_of(parent: Element | None, name: str) -> str:
    """Return the text of a child, or the empty string if the child or its text is missing."""
    found = parent.find(name) if parent is not None else None
    return (found.text or "") if found is not None else ""
