"""The port of a separation engine, and the split that keeps the sum of the two stems equal to the input."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SAMPLERATE_HZ: Final = 44100
"""Rate of everything between decoder and encoder: what the default engine was trained on."""

Block: TypeAlias = npt.NDArray[np.float32]
"""Sound: shape ``(samples, 2)``, 44.1 kHz, full scale at 1.0."""


class VoiceEngine(Protocol):
    """Finds the voice in a mixture."""

    def voice(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The voice in a stream of sound.

        Args:
            blocks: The mixture, in blocks of any length.

        Yields:
            The voice, in blocks of any length, as many samples in all as came in, at the same places. An engine may
            lag behind its input by a bounded time.
        """
        ...


def split(engine: VoiceEngine, blocks: Iterable[Block]) -> Iterator[tuple[Block, Block]]:
    """Separate a stream into voice and background.

    The background is what is left of the mixture when the voice is taken away, so the two always add up to it.

    Yields:
        Pairs of voice and background blocks of the same length.
    """
    pending = _Pending(blocks)
    for voice in engine.voice(pending):
        mixture = pending.take(len(voice))
        kept = _within_full_scale(voice, mixture)
        yield kept, mixture - kept


def _within_full_scale(voice: Block, mixture: Block) -> Block:
    """Move the voice where it or the background would go beyond full scale: a clipped stem would break the sum.

    For a mixture within full scale there is always such a place.
    """
    lowest = np.maximum(mixture - 1.0, -1.0)
    highest = np.minimum(mixture + 1.0, 1.0)
    kept: Block = np.minimum(np.maximum(voice, lowest), highest)
    return kept


class _Pending:
    """Passes blocks on to the engine and keeps them until the engine has answered for them."""

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = blocks
        self._kept: list[Block] = []

    def __iter__(self) -> Iterator[Block]:
        for block in self._blocks:
            self._kept.append(block)
            yield block

    def take(self, count: int) -> Block:
        """Remove and return the oldest ``count`` samples."""
        joined = np.concatenate(self._kept) if len(self._kept) != 1 else self._kept[0]
        if len(joined) < count:
            message = f"the engine gave {count} samples for {len(joined)}"
            raise ValueError(message)
        self._kept = [joined[count:].copy()]
        return joined[:count]
