"""Words and numbers in messages."""

from __future__ import annotations

import unicodedata
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_QUOTED_LENGTH = 60
"""Characters of an offending value that are shown."""


def quoted(value: object, length: int = _QUOTED_LENGTH) -> str:
    """Return a value in quotes, control characters escaped, cut to ``length`` characters."""
    text = str(value)
    if len(text) > length:
        text = f"{text[: length - 3]}..."
    escaped = "".join(char if char.isprintable() else _escaped(char) for char in text)
    return f'"{escaped}"'


def one_line(text: str) -> str:
    """Return a text with its control characters escaped: a name must not move the cursor."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or _is_harmless(char) else _escaped(char) for char in text
    )


def _is_harmless(char: str) -> bool:
    """Return True for spaces of any width, and for the joiner inside one shown letter."""
    return unicodedata.category(char) == "Zs" or char == "\u200d"


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def listed(words: Iterable[object], last: str = "or") -> str:
    """Return ``a, b or c``."""
    all_words = [str(word) for word in words]
    if len(all_words) < 2:
        return "".join(all_words)
    return f"{', '.join(all_words[:-1])} {last} {all_words[-1]}"


def nearest_word(word: str, known: Iterable[str]) -> str:
    """Return the known word that is spelt most like ``word``, or an empty text if none is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(word.lower()[:100], by_lower, n=1, cutoff=0.6)
    return by_lower[near[0]] if near else ""


def counted(number: int, one: str, many: str = "") -> str:
    """Return ``1 object`` or ``2 objects``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def is_utf_8(name: str) -> bool:
    """Return True if a name, read from the file system or a listing, is UTF-8."""
    return name.isascii() or printable(name) == name


def not_utf_8(path: str) -> str:
    """Return the message about a path whose name no ledger and no report can hold."""
    return (
        f'The path "{printable(path)}" is not UTF-8, so a ledger and a report cannot hold it. '
        "Rename it."
    )


def printable(name: str) -> str:
    """Return a name that a ledger and a report can hold.

    Bytes that are not UTF-8, and NUL, are escaped.
    """
    name = name.replace("\0", "\\x00")
    for errors in ("strict", "surrogateescape", "backslashreplace"):
        try:
            return name.encode(errors=errors).decode(errors="backslashreplace")
        except UnicodeEncodeError:
            continue
    return ""
