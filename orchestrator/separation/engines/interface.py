"""The port of a separation engine, and the split into two stems whose sum is the input."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

SAMPLERATE_HZ: Final = 44100
"""Rate between decoder and encoder: the one that the default engine was trained on."""

Block: TypeAlias = npt.NDArray[np.float32]
"""Sound: shape ``(samples, 2)``, 44.1 kHz, full scale at 1.0."""


class VoiceEngine(Protocol):
    """An engine, which finds the voice in a mixture.

    Attributes:
        runtime: Runtime, precision and threads, for people.
    """

    runtime: str

    def voice(self, blocks: Iterable[Block]) -> Generator[Block, None, None]:
        """Yield the voice of a stream of sound.

        Args:
            blocks: The mixture, in blocks of any length. The engine may take them in a thread of
                its own; it is done with them when the generator has ended or is closed.

        Yields:
            The voice, in blocks of any length: in all as many samples as the mixture has, at the
            same positions. An engine may lag behind its input by a bounded time.
        """
        ...


def split(
    engine: VoiceEngine, blocks: Iterable[Block]
) -> Generator[tuple[Block, Block], None, None]:
    """Separate a stream into voice and background.

    The background is the mixture minus the voice, so the two always add up to the mixture.

    Yields:
        Pairs of voice and background blocks of the same length.

    Raises:
        ValueError: The engine returned more samples than it received.
    """
    pending = _Pending(blocks)
    with closing(engine.voice(pending)) as voices:
        for voice in voices:
            mixture = pending.take(len(voice))
            kept = _within_full_scale(voice, mixture)
            yield kept, mixture - kept


def _within_full_scale(voice: Block, mixture: Block) -> Block:
    """Limit the voice where it or the background would exceed full scale.

    A clipped stem would break the sum. A mixture within full scale always allows such a limit.
    """
    lowest = np.maximum(mixture - 1.0, -1.0)
    highest = np.minimum(mixture + 1.0, 1.0)
    kept: Block = np.minimum(np.maximum(voice, lowest), highest)
    return kept


class _Pending:
    """Blocks on their way to the engine, kept until the engine returns their voice.

    One thread may iterate while another one takes.
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = blocks
        self._kept: deque[Block] = deque()

    def __iter__(self) -> Iterator[Block]:
        for block in self._blocks:
            self._kept.append(block)
            yield block

    def take(self, count: int) -> Block:
        """Remove and return the oldest ``count`` samples."""
        taken: list[Block] = []
        missing = count
        while missing:
            if not self._kept:
                message = f"the engine returned {count} samples for {count - missing}"
                raise ValueError(message)
            block = self._kept.popleft()
            if len(block) > missing:
                self._kept.appendleft(block[missing:])
                block = block[:missing]
            taken.append(block)
            missing -= len(block)
        return taken[0] if len(taken) == 1 else np.concatenate(taken)
