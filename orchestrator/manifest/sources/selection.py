"""Selection of a part of a manifest: by name, the first objects, or a sample."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from orchestrator.domain.value_formats import percent
from orchestrator.errors import ConfigError
from orchestrator.manifest.sources.address import AddressRefused
from orchestrator.manifest.sources.globs import Globs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from orchestrator.manifest.sources.item import SourceItem

_SHARES = 1 << 32


class Selection:
    """Objects that a command works on.

    Args:
        only: Globs on object names (``--only``); one match is enough. None or empty: all.
        limit: Largest number of objects (``--limit``).
        sample: Percentage of the objects (``--sample 1%``). A hash of bucket and name selects the
            same objects every time.

    Raises:
        ConfigError: If a number is out of range, or a glob is an address that is not understood.
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
            raise ConfigError(f"--sample {sample:g}%: write a percentage above 0, up to 100%.")
        globs = tuple(only or ())
        try:
            self._only = Globs(globs) if globs else None
        except AddressRefused as error:
            raise ConfigError(f"--only: {error.message}") from error
        self._arguments = globs, limit, sample
        self._left = limit
        self._below = None if sample is None else int(_SHARES * sample / 100)
        self.is_whole = self._only is None and limit is None and sample is None
        """True if all objects are selected. If not, a missing job may still be in the manifest."""

    def restarted(self) -> Selection:
        """Return the same selection with nothing taken yet, for another pass over the manifest."""
        return Selection(*self._arguments)

    @property
    def is_exhausted(self) -> bool:
        """True if no further object will be taken, so that reading may stop."""
        return self._left == 0

    def remarks(self) -> list[str]:
        """Return a remark on each glob that has matched nothing."""
        return [f"--only {text}" for text in self._only.unmatched()] if self._only else []

    def take(self, items: Sequence[SourceItem]) -> list[SourceItem]:
        """Return the selected items of a batch."""
        taken = [item for item in items if self._matches(item)]
        if self._left is not None:
            taken = taken[: self._left]
            self._left -= len(taken)
        return taken

    def _matches(self, item: SourceItem) -> bool:
        key = item.media.key
        if self._only is not None and not self._only(key, item.media.bucket):
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
