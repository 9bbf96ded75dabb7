"""Short-time Fourier transform of a stream and its inverse, framed as in the engine's training.

Frames of 4096 samples every 1024, with a periodic Hann window. The inverse uses 2/3 of the same
window: four squared windows overlap everywhere, and their sum is 3/2. One frame of silence
precedes the sound.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from orchestrator.separation.engines.interface import Block

FRAME: Final = 4096
HOP: Final = 1024
BINS: Final = FRAME // 2 + 1
_OVERLAP: Final = FRAME - HOP

Spectrum: TypeAlias = npt.NDArray[np.complex64]
"""Shape ``(2 channels, frames, 2049 bins)``."""

_WINDOW: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)).astype(np.float32)
_INVERSE_WINDOW: Final = (_WINDOW * np.float32(2 / 3)).astype(np.float32)


class Analysis:
    """Transform of blocks of sound into spectra of equal length; the last may be shorter."""

    def __init__(self, frames: int) -> None:
        self._frames = frames
        self._needed = (frames - 1) * HOP + FRAME
        self._waiting: list[npt.NDArray[np.float32]] = [np.zeros((2, FRAME), np.float32)]
        self._count = FRAME

    def push(self, block: Block) -> list[Spectrum]:
        """Add sound, and return the spectra that it completes."""
        self._waiting.append(block.T)
        self._count += len(block)
        ready: list[Spectrum] = []
        if self._count < self._needed:
            return ready
        samples = np.concatenate(self._waiting, axis=1)
        while samples.shape[1] >= self._needed:
            ready.append(_forward(samples[:, : self._needed], self._frames))
            samples = samples[:, self._frames * HOP :]
        self._waiting, self._count = [samples.copy()], samples.shape[1]
        return ready

    def finish(self) -> Spectrum | None:
        """Return the frames that begin in the rest, padded with silence; None if none does."""
        frames = -(-self._count // HOP)
        if not frames:
            return None
        missing = (frames - 1) * HOP + FRAME - self._count
        return _forward(
            np.concatenate([*self._waiting, np.zeros((2, missing), np.float32)], axis=1), frames
        )


class Synthesis:
    """Transform of spectra back into blocks of sound, at their original positions."""

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


def _forward(samples: npt.NDArray[np.float32], frames: int) -> Spectrum:
    windows = np.lib.stride_tricks.sliding_window_view(samples, FRAME, axis=1)[:, ::HOP][:, :frames]
    return np.fft.rfft(windows * _WINDOW, axis=2).astype(np.complex64, copy=False)
