"""An engine for which the voice is what both channels share. It needs nothing but NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class MiddleEngine:
    """Finds the middle of the stereo sound.

    Attributes:
        runtime: What computes, for the log.
        stems: Stems that it finds.
    """

    runtime = "NumPy"
    stems = ("voice",)

    def separate(self, blocks: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Yield the voice of each block ``(samples, 2)``."""
        for block in blocks:
            middle = block.mean(axis=1, keepdims=True, dtype=np.float32)
            yield {"voice": np.repeat(middle, 2, axis=1)}


def create(threads: int) -> MiddleEngine:
    """Return the engine; ``threads`` is the number of threads that it may use."""
    return MiddleEngine()
