"""The port of a runtime: a network that is loaded and ready to compute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array: TypeAlias = npt.NDArray[np.float32]
Compute: TypeAlias = "Callable[[Sequence[Array]], list[Array]]"
"""Computes all outputs of all inputs; each array begins with the axis of the batch."""


class Network(Protocol):
    """A loaded network with inputs of a fixed shape.

    Attributes:
        batch: Blocks that it computes at a time: the first size of every input and output.
        runtime: Runtime, version, device, precision and threads, for people.
    """

    batch: int
    runtime: str

    def stream(self) -> Compute:
        """Return a function that computes one batch after another.

        Several streams may work at once, each in its own thread. A result stays valid; the
        function keeps no reference to its arguments.
        """
        ...


@dataclass(frozen=True, slots=True)
class Wish:
    """The way to load a network.

    Attributes:
        shapes: Shape of each input, in the file's order, without its first size, the batch.
        threads: Threads that work on one batch.
        f32_only: Compute with 32-bit floats, whatever the processor has.
        is_batch_free: The network works on any number of blocks at a time.
    """

    shapes: tuple[tuple[int, ...], ...]
    threads: int
    f32_only: bool = False
    is_batch_free: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device that a runtime offers.

    Attributes:
        name: Its name in the runtime.
        batch: Blocks that it is given at a time, if the network can take more than one.
        is_gpu: It is not the processor.
    """

    name: str
    batch: int = 1
    is_gpu: bool = False

    def batch_of(self, wish: Wish) -> int:
        """Return the blocks at a time of one network."""
        return self.batch if wish.is_batch_free else 1


class Unusable(Exception):
    """A runtime cannot load the file."""
