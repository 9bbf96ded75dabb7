"""The port of a runtime: a network that is loaded and ready to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array: TypeAlias = npt.NDArray[np.float32]


class Network(Protocol):
    """A loaded network with one input and one output of a fixed shape.

    Attributes:
        shape: Shape of the input.
        runtime: Runtime, version, precision and threads, for people.
    """

    shape: tuple[int, ...]
    runtime: str

    def stream(self) -> Callable[[Array], Array]:
        """Return a function that computes one array after another.

        Several streams may work at once, each in its own thread. A result stays valid; the
        function keeps no reference to its argument.
        """
        ...


Shape: TypeAlias = "tuple[int | None, ...]"
"""Shape of an input; None where the file states the size."""


def fixed_shape(wanted: Shape, stated: Sequence[object]) -> tuple[int, ...]:
    """Return the shape that is wanted, with the sizes that only the file states.

    Raises:
        Unusable: The file leaves such a size open, or has another number of axes.
    """
    if len(wanted) != len(stated):
        raise Unusable(f"its input has {len(stated)} axes, not {len(wanted)}")
    sizes = [size if size is not None else own for size, own in zip(wanted, stated, strict=True)]
    fixed = tuple(size for size in sizes if isinstance(size, int) and size > 0)
    if len(fixed) < len(sizes):
        raise Unusable(f"its input has no fixed shape: {list(stated)}")
    return fixed


class Unusable(Exception):
    """A runtime cannot load the file."""
