"""Overlapping chunks of a stream, and the stream that is made of what a network says to each.

A quarter of each chunk is blended with the next one, so that no seam is heard. One chunk after
another is cut, computed and blended, in three threads: memory does not grow with the sound.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

import numpy as np

from orchestrator.separation.read_ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from orchestrator.separation.engines.interface import Block
    from orchestrator.separation.engines.network import Array


_BLENDED: Final = 4
"""The part of a chunk that is blended: one in four."""

Estimate: TypeAlias = "Callable[[list[Array]], Iterable[Array]]"
"""Returns the stems ``(stems, 2, samples)`` of each chunk ``(2, samples)``."""
_Chunk: TypeAlias = "tuple[Array, int]"


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """The way to cut a stream.

    Attributes:
        size: Samples of a chunk.
        margin: Samples at both ends of a chunk that a network only hears.
        batch: Chunks that are computed at a time.
    """

    size: int
    margin: int = 0
    batch: int = 1

    @property
    def kept(self) -> int:
        """Samples of a chunk without its margins."""
        return self.size - 2 * self.margin

    @property
    def blended(self) -> int:
        """Samples that two chunks share."""
        return self.kept // _BLENDED

    @property
    def step(self) -> int:
        """Samples from one chunk to the next."""
        return self.kept - self.blended


def blend(
    blocks: Iterable[Block], plan: ChunkPlan, estimate: Estimate
) -> Generator[Array, None, None]:
    """Yield the stems ``(stems, samples, 2)`` of a stream, in blocks, and as long as the stream.

    Args:
        blocks: The stream.
        plan: The way to cut it.
        estimate: Computes up to ``plan.batch`` chunks; it runs in a thread of its own.
    """
    rising = (np.arange(plan.blended, dtype=np.float32) + np.float32(0.5)) / np.float32(
        plan.blended
    )
    tail = np.zeros((1, 0, 2), np.float32)
    chunks = ahead(_chunks(blocks, plan), plan.batch)
    estimates = ahead(_estimates(chunks, plan, estimate), plan.batch)
    with closing(chunks), closing(estimates):
        for stems, length in estimates:
            shared = tail.shape[1]
            stems[:, :shared] *= rising[:shared, np.newaxis]
            stems[:, :shared] += tail
            yield stems[:, : min(plan.step, length)]
            tail = stems[:, plan.step :] * rising[::-1, np.newaxis]


def _estimates(
    chunks: Iterable[_Chunk], plan: ChunkPlan, estimate: Estimate
) -> Generator[_Chunk, None, None]:
    """Yield the stems of each chunk without its margins, and the samples left in the sound."""
    inner = slice(plan.margin, plan.size - plan.margin)
    for several in in_batches(chunks, plan.batch):
        made = estimate([samples for samples, _ in several])
        for stems, (_, length) in zip(made, several, strict=True):
            yield np.ascontiguousarray(stems[:, :, inner].transpose(0, 2, 1)), length


def _chunks(blocks: Iterable[Block], plan: ChunkPlan) -> Generator[_Chunk, None, None]:
    """Yield overlapping chunks, and the samples of the sound from each one's margin on.

    The sound begins after a margin of silence, and silence follows its end.
    """
    size, step, margin = plan.size, plan.step, plan.margin
    samples = np.zeros((2, size), np.float32)
    count = margin
    for block in blocks:
        taken = 0
        while taken < len(block):
            part = block[taken : taken + size - count].T
            samples[:, count : count + part.shape[1]] = part
            taken, count = taken + part.shape[1], count + part.shape[1]
            if count == size:
                yield samples.copy(), size - margin
                samples[:, : size - step] = samples[:, step:]
                count -= step
    samples[:, count:] = 0
    while count > margin:
        yield samples.copy(), count - margin
        samples[:, : size - step] = samples[:, step:]
        samples[:, size - step :] = 0
        count -= step


T = TypeVar("T")


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of ``size``; the last one may be shorter. None is kept here."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        del item
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
