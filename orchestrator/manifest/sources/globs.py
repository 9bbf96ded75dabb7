"""Case-sensitive globs on object names: ``*`` (any text, also slashes), ``?`` and ``[abc]``.

A name matches a glob that equals it, whatever brackets it has. A glob may be an address
(``cos://bucket/in/*``); then it matches names in that bucket only.
"""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from orchestrator.domain.wording import quoted
from orchestrator.manifest.sources.address import address_of, is_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_MOST_NEAR = 100_000
"""Names that are compared without regard to case; a typing error shows in the first ones."""


def _expression(glob: str) -> str:
    matched = fnmatch.translate(glob)
    return rf"{matched}|{re.escape(glob)}\Z" if "[" in glob else matched


def matcher(globs: Iterable[str], flags: int = 0) -> Callable[[str], object]:
    """Return a function that is true for text that matches one of the globs."""
    return re.compile("|".join(_expression(glob) for glob in globs), flags).match


class _Glob:
    """One glob: matches with regard to case and bucket, or without."""

    __slots__ = ("bucket", "loose", "match", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.bucket, pattern = "", text
        if is_address(text):
            self.bucket, _, pattern = address_of(text)
        self.match = matcher([pattern])
        self.loose = matcher([pattern], re.IGNORECASE)

    def fits(self, key: str, bucket: str) -> bool:
        return (not self.bucket or bucket == self.bucket) and bool(self.match(key))


class Globs:
    """Globs, one of which must match. They know which of them have matched nothing.

    Args:
        globs: The globs.

    Raises:
        AddressRefused: If a glob is an address that is not understood.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        every = [_Glob(text) for text in globs]
        plain = [glob.text for glob in every if not glob.bucket]
        self._plain = matcher(plain) if plain else None
        self._placed = [glob for glob in every if glob.bucket]
        self._every = every
        self._open = every  # those that have matched nothing
        self._near: dict[str, str] = {}
        self._compared = 0

    def __call__(self, key: str, bucket: str = "") -> bool:
        """Return True if a glob matches the name."""
        is_match = self._plain is not None and bool(self._plain(key))
        if not is_match and self._placed:
            is_match = any(glob.fits(key, bucket) for glob in self._placed)
        if self._open:
            self._note(key, bucket, is_match=is_match)
        return is_match

    def _note(self, key: str, bucket: str, *, is_match: bool) -> None:
        if is_match:
            self._open = [glob for glob in self._open if not glob.fits(key, bucket)]
        elif self._compared < _MOST_NEAR:
            self._compared += 1
            for glob in self._open:
                if glob.text not in self._near and glob.loose(key):
                    self._near[glob.text] = key

    def is_near(self, key: str) -> bool:
        """Return True if a glob would match the name in another case."""
        return any(glob.loose(key) for glob in self._every)

    def unmatched(self) -> list[str]:
        """Return a remark on each glob that has matched nothing."""
        return [
            unmatched_text(quoted(glob.text), self._near.get(glob.text, "")) for glob in self._open
        ]


def unmatched_text(subject: str, near: str) -> str:
    """Return the remark on a condition that no object met."""
    text = f"{subject} matches no object."
    return f"{text} Only the case differs from {quoted(near)}." if near else text


class Filter:
    """Takes names that match an include glob (if there are any) and no exclude glob.

    Args:
        include: Globs of names to take; none for all.
        exclude: Globs of names to leave out.

    Attributes:
        include: The globs of names to take, or None.
        exclude: The globs of names to leave out, or None.
        seen: Names that were looked at.
        near: Names that were left out although they differ from ``include`` only in case, and one
            of them.
    """

    def __init__(self, include: Iterable[str], exclude: Iterable[str]) -> None:
        include, exclude = tuple(include), tuple(exclude)
        self.include = Globs(include) if include else None
        self.exclude = Globs(exclude) if exclude else None
        self.seen = 0
        self.near = (0, "")

    def takes(self, key: str, bucket: str = "") -> bool:
        """Return True if the filter takes the object."""
        self.seen += 1
        if self.include is not None and not self.include(key, bucket):
            if self.include.is_near(key):
                self.near = (self.near[0] + 1, self.near[1] or key)
            return False
        return self.exclude is None or not self.exclude(key, bucket)

    def may_take(self, key: str) -> bool:
        """Return True if the filter would take the name in some case. It is not counted."""
        return (self.include is None or self.include.is_near(key)) and (
            self.exclude is None or not self.exclude.is_near(key)
        )

    def unmatched(self) -> list[tuple[str, str]]:
        """Return the remarks on globs that matched nothing, each with ``include`` or ``exclude``.

        A source without objects says nothing about them.
        """
        if not self.seen:
            return []
        sides = (("include", self.include), ("exclude", self.exclude))
        return [
            (name, text) for name, globs in sides if globs is not None for text in globs.unmatched()
        ]
