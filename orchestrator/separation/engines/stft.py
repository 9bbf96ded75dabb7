"""Short-time Fourier transform of a stream and its inverse, framed as in the engine's training.

Frames of 4096 samples every 1024, with a periodic Hann window. The inverse uses 2/3 of the same
window: four squared windows overlap everywhere, and their sum is 3/2. One frame of silence
precedes the sound.

The work is done for a few frames at a time, because arrays that stay in the processor's cache take
half the time of large ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.separation.engines.interface import Block

FRAME: Final = 4096
HOP: Final = 1024
BINS: Final = FRAME // 2 + 1
GROUP: Final = 32
"""Frames that are transformed at a time."""
_OVERLAP: Final = FRAME - HOP

Spectrum: TypeAlias = npt.NDArray[np.complex64]
"""Shape ``(2 channels, frames, bins)``."""

_WINDOW: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
_INVERSE_WINDOW: Final = (_WINDOW * np.float32(2 / 3)).astype(np.float32)


class Analysis:
    """Transform of blocks of sound into spectra of equal length; the last ones may be shorter."""

    def __init__(self, frames: int, bins: int = BINS) -> None:
        """Begin a stream.

        Args:
            frames: Frames of a spectrum.
            bins: Lowest bins that are kept.
        """
        self._frames = frames
        self._bins = bins
        self._samples = np.zeros((2, (frames - 1) * HOP + FRAME), np.float32)
        self._count = FRAME
        self._windows = np.empty((2, GROUP, FRAME), np.float32)
        # NumPy's types know double precision only.
        self._whole: npt.NDArray[Any] = np.empty((2, GROUP, BINS), np.complex64)

    def push(self, block: Block) -> Iterator[Spectrum]:
        """Add sound, and yield the spectra that it completes."""
        taken = 0
        while self._count + len(block) - taken >= self._samples.shape[1]:
            taken += self._fill(block[taken:])
            yield self._forward(self._frames)
            self._shift()
        self._fill(block[taken:])

    def finish(self) -> Iterator[Spectrum]:
        """Yield the frames that begin in the rest, padded with silence."""
        self._samples[:, self._count :] = 0
        while self._count > 0:
            yield self._forward(min(-(-self._count // HOP), self._frames))
            self._shift()

    def _shift(self) -> None:
        """Drop the samples that no later frame needs; silence follows the others."""
        done = self._frames * HOP
        self._samples[:, :-done] = self._samples[:, done:]
        self._samples[:, -done:] = 0
        self._count -= done

    def _fill(self, block: Block) -> int:
        """Add as much of the block as there is room for, and return its length."""
        count = min(len(block), self._samples.shape[1] - self._count)
        self._samples[:, self._count : self._count + count] = block[:count].T
        self._count += count
        return count

    def _forward(self, frames: int) -> Spectrum:
        spectrum = np.empty((2, frames, self._bins), np.complex64)
        views = np.lib.stride_tricks.sliding_window_view(self._samples, FRAME, axis=1)[:, ::HOP]
        for start in range(0, frames, GROUP):
            count = min(GROUP, frames - start)
            windows, whole = self._windows[:, :count], self._whole[:, :count]
            np.multiply(views[:, start : start + count], _WINDOW, out=windows)
            np.fft.rfft(windows, axis=2, out=whole)
            spectrum[:, start : start + count] = whole[:, :, : self._bins]
        return spectrum


class Synthesis:
    """Transform of spectra back into blocks of sound, at their original positions.

    It works best with a few frames at a time (``GROUP``). Bins that a spectrum lacks are silent.
    """

    def __init__(self) -> None:
        self._tail = np.zeros((2, _OVERLAP), np.float32)
        self._lead = FRAME

    def push(self, spectrum: Spectrum) -> Block:
        """Return the samples that no later frame can change."""
        frames = spectrum.shape[1]
        pieces = np.fft.irfft(spectrum, n=FRAME, axis=2).astype(np.float32, copy=False)
        pieces *= _INVERSE_WINDOW
        sound = np.zeros((2, frames * HOP + _OVERLAP), np.float32)
        sound[:, :_OVERLAP] = self._tail
        for part in range(FRAME // HOP):
            shifted = pieces[:, :, part * HOP : (part + 1) * HOP].reshape(2, frames * HOP)
            sound[:, part * HOP : part * HOP + frames * HOP] += shifted
        self._tail = sound[:, frames * HOP :].copy()
        return self._past_lead(sound[:, : frames * HOP])

    def finish(self) -> Block:
        """Return the rest of the last frames."""
        return self._past_lead(self._tail)

    def _past_lead(self, sound: npt.NDArray[np.float32]) -> Block:
        """Drop the silence that ``Analysis`` puts before the sound."""
        skipped = min(self._lead, sound.shape[1])
        self._lead -= skipped
        return np.ascontiguousarray(sound[:, skipped:].T)
