"""Typographic characters that web pages and word processors put in place of those that YAML reads.

They look like quotes, spaces and colons, and YAML takes them as part of the text. Inside a text
they are left alone: a file name may have an apostrophe of any kind.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from orchestrator.domain.wording import quoted

_DOUBLE: Final = "\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02"
_SINGLE: Final = "\u2018\u2019\u201a\u201b\u2039\u203a\uff07"
_QUOTES: Final = _DOUBLE + _SINGLE
_ANY_QUOTES: Final = f"{_QUOTES}\"'"
_SPACES: Final = (
    "\u00a0\u00ad\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u200b\u200c"
    "\u200d\u200e\u200f\u202f\u205f\u2060\u3000\ufeff"
)
_COLON: Final = "\uff1a"
_KEY_LIKE = r"-?\s*[A-Za-z_][A-Za-z0-9_]*"
_NO_KEY = re.compile(rf"(?:{_KEY_LIKE}:|-)([{_SPACES}])|{_KEY_LIKE}({_COLON})")
"""A plain text that was to be a key or a list item."""
_IN_LINE = re.compile(
    rf"(?:[:,\[{{-]\s*|^\s*)([{_QUOTES}])|([{_QUOTES}])\s*(?:[:,\]}}#]|$)"
    rf"|(?:^[ \t]*|[:-] *)([{_SPACES}])|{_KEY_LIKE}({_COLON})"
)
"""Places of a line where such a character breaks the syntax."""


def value_fault(text: str, *, is_plain: bool) -> str:
    """Return what is wrong with the text of a value that is not ASCII, or an empty text.

    Args:
        text: The text.
        is_plain: It is written without quotes.
    """
    for char, place in ((text[0], "begins"), (text[-1], "ends")):
        if char in _SPACES:
            bare = text.strip(_SPACES + " ")
            return f"This text {place} with {_named(char)}. Remove it: {quoted(bare)}."
    if is_plain and (match := _NO_KEY.match(text)):
        return _structural(match[1] or match[2])
    if _is_wrapped(text):
        ends = dict.fromkeys(char for char in (text[0], text[-1]) if char in _QUOTES)
        marks = " and ".join(f"{char} U+{ord(char):04X}" for char in ends)
        bare = text.strip(_ANY_QUOTES)
        return (
            f"Typographic quotes ({marks}) are part of the text for YAML. "
            f'Use straight quotes: "{bare}".'
        )
    return ""


def key_fault(text: str) -> str:
    """Return what is wrong with a key that is not ASCII, or an empty text."""
    for char in text:
        if char in _SPACES or (char == _COLON and re.match(_KEY_LIKE, text)):
            return _structural(char)
    for char in (text[0], text[-1]):
        if char in _QUOTES:
            return _structural(char)
    return ""


def line_fault(line: str) -> tuple[str, int] | None:
    """Return what breaks the syntax of a line and its column, from 1; None if nothing does."""
    if line.isascii() or (match := _IN_LINE.search(line)) is None:
        return None
    number = next(number for number in range(1, 5) if match[number])
    return _structural(match[number]), match.start(number) + 1


def _is_wrapped(text: str) -> bool:
    """Return True if quotes of which one is typographic are around the whole text."""
    first, last = text[0], text[-1]
    if len(text) > 1 and first in _ANY_QUOTES and last in _ANY_QUOTES:
        return first in _QUOTES or last in _QUOTES
    # A lone double quote at one end is half of a pair that was split.
    is_lone = sum(char in _DOUBLE for char in text) == 1
    return is_lone and (first in _DOUBLE or last in _DOUBLE)


def _structural(char: str) -> str:
    straight = '"' if char in _DOUBLE else "'"
    if char in _SPACES:
        right = "a normal space" if unicodedata.category(char) == "Zs" else "nothing"
    else:
        right = 'a colon and a space ": "' if char == _COLON else f"a straight quote {straight}"
    return f"Here is {_named(char)}, which YAML takes as part of the text. Write {right} instead."


def _named(char: str) -> str:
    name = unicodedata.name(char, "a control character").lower()
    return f"U+{ord(char):04X} ({name})"
