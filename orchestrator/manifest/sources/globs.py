"""Case-sensitive globs on object names: ``*`` (any text, also slashes), ``?`` and ``[abc]``."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def matcher(globs: Iterable[str]) -> Callable[[str], object]:
    """Return a function that is true for text that matches one of the globs."""
    return re.compile("|".join(fnmatch.translate(glob) for glob in globs)).match


class Filter:
    """Takes names that match an include glob (if there are any) and no exclude glob."""

    __slots__ = ("_exclude", "_include")

    def __init__(self, include: Iterable[str], exclude: Iterable[str]) -> None:
        include, exclude = tuple(include), tuple(exclude)
        self._include = matcher(include) if include else None
        self._exclude = matcher(exclude) if exclude else None

    def takes(self, key: str) -> bool:
        """Return True if the filter takes the object."""
        if self._include is not None and not self._include(key):
            return False
        return self._exclude is None or not self._exclude(key)
