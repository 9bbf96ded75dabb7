"""Collecting what is wrong, so that the user hears of everything at once, and of the nearest right word."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

from orchestrator.errors import Fault, ManifestError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_FAULTS = 50
"""Faults that are told in full unless the user asks for more: what a person reads before mending the first ones."""

_QUOTED_LENGTH = 60
"""Characters of an offending value that are shown."""
FILE_LENGTH = 500
"""The same for file names, which one wants to copy."""


class FaultList:
    """Faults in the order in which they were found, bounded; what is beyond the bound is counted.

    Args:
        limit: Faults to keep.
    """

    def __init__(self, limit: int = MAX_FAULTS) -> None:
        self.limit = max(1, limit)
        self.kept: list[Fault] = []
        self.omitted = 0

    def __len__(self) -> int:
        """All faults, the omitted ones too."""
        return len(self.kept) + self.omitted

    def add(self, fault: Fault) -> None:
        """Take one more fault."""
        if len(self.kept) < self.limit:
            self.kept.append(fault)
        else:
            self.omitted += 1

    def extend(self, faults: Iterable[Fault]) -> None:
        """Take more faults."""
        for fault in faults:
            self.add(fault)

    def raise_if_any(self, kind: type[ManifestError] = ManifestError) -> None:
        """Raise ``kind`` with all faults, if there are any."""
        if self.kept:
            raise kind(self.kept, omitted=self.omitted)


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
