"""The outline of a sound, small enough to be drawn by a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from orchestrator.separation.media.container import open_media
from orchestrator.separation.media.decode import Decoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block

STEPS = 240
"""Steps of an outline: about what a phone can show, and enough for a wide screen."""
_WINDOW = 512
"""Samples that become one pair of values at first; a short sound has more windows than steps."""
_FULL_SCALE = 127


def waveform(path: Path) -> bytes:
    """Return the lowest and highest value of each step, as pairs of signed bytes.

    Raises:
        SeparationFailed: If the file is not there, or not a sound that can be decoded.
    """
    with open_media(path) as container:
        windows = list(_windows(Decoder(path, container).blocks()))
    low, high = (np.concatenate(parts) for parts in zip(*windows, strict=True))
    starts = np.arange(STEPS) * len(low) // STEPS
    pairs = np.stack([np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)], axis=1)
    scaled = np.clip(np.rint(pairs * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE)
    return bytes(scaled.astype(np.int8))


def _windows(blocks: Iterable[Block]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the lowest and highest values of the windows of each block, over both channels."""
    rest = np.zeros((0, 2), np.float32)
    for block in blocks:
        sound = np.concatenate([rest, block])
        whole = len(sound) // _WINDOW * _WINDOW
        rest = sound[whole:]
        if whole:
            windows = sound[:whole].reshape(-1, _WINDOW * 2)
            yield windows.min(axis=1), windows.max(axis=1)
    if len(rest):
        yield rest.min(keepdims=True)[0], rest.max(keepdims=True)[0]
