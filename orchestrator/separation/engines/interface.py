"""The port of a separation engine, and the split into stems whose sum is the input."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from orchestrator.domain.spec import Stem
from orchestrator.separation.errors import WrongLength

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

SAMPLERATE_HZ: Final = 44100
"""Rate between decoder and encoder: the one that the default engine was trained on."""

Block: TypeAlias = npt.NDArray[np.float32]
"""Sound: shape ``(samples, 2)``, 44.1 kHz, full scale at 1.0."""
Stems: TypeAlias = "Mapping[Stem, Block]"
"""Blocks of the same length, by the stem that they belong to."""


class Engine(Protocol):
    """An engine, which finds stems in a mixture.

    Attributes:
        runtime: What computes, for people: runtime, version, precision, threads.
        stems: Stems that it finds: the voice always, and bass and drums if it can. The background
            is what they leave of the mixture.
    """

    runtime: str
    stems: tuple[Stem, ...]

    def separate(self, blocks: Iterable[Block]) -> Generator[Stems, None, None]:
        """Yield the stems of a stream of sound.

        Args:
            blocks: The mixture, in blocks of any length. The engine may take them in a thread of
                its own; it is done with them when the generator has ended or is closed.

        Yields:
            The stems, in blocks of any length, all of the same one: in all as many samples as the
            mixture has, at the same positions. An engine may lag behind its input by a bounded
            time.
        """
        ...


def split(
    engine: Engine, blocks: Iterable[Block], parts: tuple[Stem, ...] = (Stem.VOICE,)
) -> Generator[dict[Stem, Block], None, None]:
    """Separate a stream into some stems and the background, which is the rest of the mixture.

    Args:
        engine: The engine.
        blocks: The mixture.
        parts: The stems, of those that the engine finds.

    Yields:
        Blocks of the same length, whose sum is the mixture.

    Raises:
        WrongLength: The engine returned more or fewer samples than it received.
    """
    pending = _Pending(blocks)
    with closing(engine.separate(pending)) as estimates:
        for estimate in estimates:
            found = {stem: estimate[stem] for stem in parts}
            mixture = pending.take(len(found[parts[0]]))
            yield _adding_up(found, mixture)
    pending.check_empty()


def _adding_up(found: dict[Stem, Block], mixture: Block) -> dict[Stem, Block]:
    """Add the background, and limit the stems where one of all would exceed full scale.

    A clipped stem would break the sum. A mixture within full scale always allows such a limit.
    """
    background = mixture.copy()
    for block in found.values():
        background -= block
    if any(_exceeds(block) for block in (*found.values(), background)):
        found = {stem: np.clip(block, -1, 1) for stem, block in found.items()}
        background = mixture - sum(found.values())
        for stem, block in found.items():
            # What the background has too much of goes to the stems, as far as each one has room.
            excess = background - np.clip(background, -1, 1)
            limited = np.clip(block + excess, -1, 1)
            background -= limited - block
            found[stem] = limited
    return {**found, Stem.BACKGROUND: background}


def _exceeds(block: Block) -> bool:
    return bool(block.max(initial=0) > 1 or block.min(initial=0) < -1)


class _Pending:
    """Blocks on their way to the engine, kept until the engine returns their voice.

    One thread may iterate while another one takes.
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._blocks = blocks
        self._kept: deque[Block] = deque()
        self._is_read = False

    def __iter__(self) -> Iterator[Block]:
        for block in self._blocks:
            self._kept.append(block)
            yield block
        self._is_read = True

    def take(self, count: int) -> Block:
        """Remove and return the oldest ``count`` samples."""
        taken: list[Block] = []
        missing = count
        while missing:
            if not self._kept:
                message = f"it returned {missing} samples more than it received"
                raise WrongLength(message)
            block = self._kept.popleft()
            if len(block) > missing:
                self._kept.appendleft(block[missing:])
                block = block[:missing]
            taken.append(block)
            missing -= len(block)
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    def check_empty(self) -> None:
        """Check that the engine has used all of the sound.

        Raises:
            WrongLength: It has not.
        """
        if self._kept or not self._is_read:
            message = "it ended before the sound did"
            raise WrongLength(message)
