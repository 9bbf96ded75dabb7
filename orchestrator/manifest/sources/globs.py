"""Globs on object names: ``*`` is any text, slashes too; ``?`` one character; ``[abc]`` one of these. Case counts."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def matcher(globs: Iterable[str]) -> Callable[[str], object]:
    """A function that says whether a text matches at least one of the globs."""
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs)).match


class Filter:
    """``include`` and ``exclude`` together: what matches an include (or there is none) and no exclude."""

    __slots__ = ("_exclude", "_include")

    def __init__(self, include: Iterable[str], exclude: Iterable[str]) -> None:
        include, exclude = tuple(include), tuple(exclude)
        self._include = matcher(include) if include else None
        self._exclude = matcher(exclude) if exclude else None

    def takes(self, key: str) -> bool:
        """Whether the object is wanted."""
        if self._include is not None and not self._include(key):
            return False
        return self._exclude is None or not self._exclude(key)
