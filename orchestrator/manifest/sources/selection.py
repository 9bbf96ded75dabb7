"""A part of a manifest: by name, the first few, or a sample; to look at, or to try before the whole."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from orchestrator.domain.value_formats import percent
from orchestrator.errors import ConfigError
from orchestrator.manifest.sources.globs import matcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.manifest.sources.item import SourceItem

_SHARES = 1 << 32


class Selection:
    """Which objects are looked at.

    Args:
        only: Globs on object names (``--only``); one is enough. None or empty: all.
        limit: At most this many objects (``--limit``).
        sample: A share of the objects in percent (``--sample 1%``). The same objects every time: chosen by a hash of bucket and name.

    Raises:
        ConfigError: If a number is out of range.
    """

    def __init__(
        self,
        only: Iterable[str] | None = None,
        limit: int | None = None,
        sample: float | None = None,
    ) -> None:
        if limit is not None and limit < 1:
            raise ConfigError(f"--limit {limit}: it must be at least 1.")
        if sample is not None and not 0 < sample <= 100:
            raise ConfigError(f"--sample {sample:g}: it is a percentage above 0, up to 100.")
        globs = tuple(only or ())
        self._only = matcher(globs) if globs else None
        self._said = globs, limit, sample
        self._left = limit
        self._below = None if sample is None else int(_SHARES * sample / 100)
        self.is_whole = self._only is None and limit is None and sample is None
        """Whether it is everything. If not, jobs that are not seen have not left the manifest."""

    def anew(self) -> Selection:
        """The same choice, of which nothing is taken yet: for reading a manifest once more."""
        return Selection(*self._said)

    @property
    def is_exhausted(self) -> bool:
        """Whether no further object will be taken: reading may stop."""
        return self._left == 0

    def take(self, items: Sequence[SourceItem]) -> list[SourceItem]:
        """Those of a batch that are selected."""
        taken = [item for item in items if self._wants(item)]
        if self._left is not None:
            taken = taken[: self._left]
            self._left -= len(taken)
        return taken

    def _wants(self, item: SourceItem) -> bool:
        key = item.media.key
        if self._only is not None and not self._only(key):
            return False
        if self._below is None:
            return True
        digest = hashlib.blake2b(
            f"{item.media.bucket}/{key}".encode(errors="surrogatepass"), digest_size=4
        ).digest()
        return int.from_bytes(digest, "big") < self._below


def parse_share(text: str) -> float:
    """Return the percentage in ``1%`` or ``0.5``.

    Raises:
        ConfigError: If it is not a percentage.
    """
    share = percent(text if text.rstrip().endswith("%") else f"{text}%")
    if share is None:
        raise ConfigError(f'--sample {text}: write a percentage such as "1%".')
    return share
