"""The vendor's XML: parsed into small trees, written from dictionaries.

Bodies are untrusted input. A document type declaration is refused. Entities cannot be declared
elsewhere, so expansion bombs and external references are impossible. Depth and size of the tree
are bounded. (``defusedxml`` refuses the same input, but drives the pure Python parser: 81 us
against 9 us for a typical submit.)
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias
from xml.etree import ElementTree as ET
from xml.parsers import expat

from orchestrator.server.http.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_DEPTH = 12  # the deepest documented request has 5 levels
MAX_NODES = 2000  # six operations with every node are below 200


class Written(str):
    """An element that is written already."""

    __slots__ = ()


Tree: TypeAlias = "str | dict[str, Any] | Sequence[Tree] | None"
"""Content to write: text, an empty element, children by name, or a repeated element.

A :class:`Written` stands for its whole element, with its name.
"""

Node: TypeAlias = ET.Element
"""One parsed element."""

DECLARATION = "<?xml version='1.0' encoding='utf-8' ?>\n"
# Characters that XML 1.0 cannot carry.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(node: Node | None, name: str) -> str:
    """Return the text of the first child of that name; a missing one counts as an empty one."""
    return (node.findtext(name) or "") if node is not None else ""


def value(node: Node | None, name: str) -> str:
    """Return the same text without the blanks around it."""
    return (node.findtext(name) or "").strip() if node is not None else ""


def _check_bounds(root: Node, max_nodes: int) -> None:
    """Refuse a tree with too many elements or levels."""
    above, level = 0, [root]  # levels that have another one below
    while level and above < MAX_DEPTH:
        above += 1
        level = [inner for node in level for inner in node if len(inner)]
    if above == MAX_DEPTH or len(list(root.iter())) > max_nodes:
        raise _too_large(max_nodes)


def _too_large(max_nodes: int) -> Refusal:
    return Refusal(
        "InvalidContent", f"The body has more than {max_nodes} elements or {MAX_DEPTH} levels."
    )


def _refuse_doctype(*_: object) -> None:
    raise Refusal(
        "InvalidContent",
        "The body has a document type declaration; requests must not declare entities.",
    )


def read(body: bytes, max_nodes: int = MAX_NODES) -> Node:
    """Parse a request body and return its root element.

    Raises:
        Refusal: ``MissingContent`` if the body is empty; ``InvalidContent`` if it is not
            well-formed, declares a document type or is too deep.
    """
    if not body.strip():
        raise Refusal("MissingContent", "The request needs an XML body.")
    if body.count(b"<") > 3 * max_nodes:  # two for each element, and some comments
        raise _too_large(max_nodes)
    builder = ET.TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(body, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        # ValueError and LookupError: the encoding is unknown, or does not match the body.
        raise Refusal("InvalidContent", f"The body is not well-formed XML: {error}.") from None
    root = builder.close()
    _check_bounds(root, max_nodes)
    return root


def clean(text: str) -> str:
    """Return the text with ``?`` for each character that XML cannot carry."""
    return _FORBIDDEN.sub("?", text)


def _escape(text: str) -> str:
    """Return the text as element content."""
    if "&" in text or "<" in text or ">" in text:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text


def leaf(name: str, text: str) -> str:
    """Return an element with text."""
    return f"<{name}>{_escape(text)}</{name}>" if text else f"<{name}/>"


def leaves(texts: dict[str, str]) -> str:
    """Return the elements of several names."""
    joined = "".join(texts.values())
    if "&" in joined or "<" in joined or ">" in joined:
        texts = {name: _escape(text) for name, text in texts.items()}
    return "".join(
        [f"<{name}>{text}</{name}>" if text else f"<{name}/>" for name, text in texts.items()]
    )


def _write(out: list[str], name: str, value: Tree) -> None:
    if isinstance(value, Written):
        out.append(value)
    elif isinstance(value, str):
        out.append(leaf(name, value))
    elif value is None:
        out.append(f"<{name}/>")
    elif isinstance(value, dict):  # faster than Mapping, and every tree here consists of dicts
        out.append(f"<{name}>")
        for child, inner in value.items():
            if inner.__class__ is str and inner:  # most children: a call for each would be slow
                out.append(f"<{child}>{_escape(inner)}</{child}>")
            else:
                _write(out, child, inner)
        out.append(f"</{name}>")
    else:
        for item in value:
            _write(out, name, item)


def element(name: str, value: Tree) -> Written:
    """Return a whole element, to be used in documents."""
    out: list[str] = []
    _write(out, name, value)
    return Written("".join(out))


def document(name: str, value: Tree) -> bytes:
    """Return a whole document with that root."""
    out = [DECLARATION]
    _write(out, name, value)
    return "".join(out).encode()
