"""How values and numbers read in messages."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


_QUOTED_LENGTH = 60
"""Characters of an offending value that are shown."""


def quoted(value: object, length: int = _QUOTED_LENGTH) -> str:
    """A value as a message shows it: in quotes, control characters escaped, long ones cut (file names are given more room)."""
    text = str(value)
    if len(text) > length:
        text = f"{text[: length - 3]}..."
    escaped = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
    return f'"{escaped}"'


def listed(words: Iterable[object], last: str = "or") -> str:
    """``a, b or c``."""
    all_words = [str(word) for word in words]
    if len(all_words) < 2:
        return "".join(all_words)
    return f"{', '.join(all_words[:-1])} {last} {all_words[-1]}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``Did you mean "x"?`` for the nearest known word, or nothing."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    near = get_close_matches(word.lower()[:100], by_lower, n=1, cutoff=0.6)
    return f'Did you mean "{by_lower[near[0]]}"?' if near else ""


def counted(number: int, one: str, many: str = "") -> str:
    """``1 object``, ``2 objects``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
