"""The port of a runtime: a network that is loaded and ready to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable

Array: TypeAlias = npt.NDArray[np.float32]


class Network(Protocol):
    """A loaded network with one input and one output of a fixed shape.

    Attributes:
        runtime: Runtime, version, precision and threads, for people.
    """

    runtime: str

    def stream(self) -> Callable[[Array], Array]:
        """Return a function that computes one array after another.

        Several streams may work at once, each in its own thread. A result stays valid; the
        function keeps no reference to its argument.
        """
        ...


class Unusable(Exception):
    """A runtime cannot load the file."""
