"""The transform around a split Demucs file, as in its training.

Frames of ``n_fft`` samples every quarter of that, with a periodic Hann window, scaled by the root
of ``n_fft``. The sound is mirrored at both ends for the frames that reach beyond it. The highest
bin is left out. A chunk has one frame for every hop that begins in it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class DemucsTransform:
    """A transform of chunks of one length.

    Attributes:
        bins: Bins of a spectrum.
        frames: Frames of a spectrum.
        lacking: Samples at both ends of a chunk that do not return whole.
    """

    def __init__(self, n_fft: int, samples: int) -> None:
        self._n_fft = n_fft
        self._hop = n_fft // 4
        self._samples = samples
        self.bins = n_fft // 2
        self.frames = -(-samples // self._hop)
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
        self._window: Array = (window / np.sqrt(n_fft)).astype(np.float32)
        self._inverse: Array = (window * np.sqrt(n_fft)).astype(np.float32)
        # Frame number f begins at (f - 1.5) hops: the first and the last two of the padded sound
        # are dropped there, and taken as silent on the way back.
        self._lead = self._hop * 3 // 2
        self.lacking = 2 * self._hop
        self._power = self._overlapped_power(np.square(window))

    def _overlapped_power(self, power: npt.NDArray[np.float64]) -> Array:
        """Return the sum of the squared windows, with those of the frames that are dropped."""
        hops = self.frames + 4
        total = np.zeros((hops - 1) * self._hop + self._n_fft)
        for frame in range(hops):
            total[frame * self._hop : frame * self._hop + self._n_fft] += power
        start = 2 * self._hop + self._lead
        inner: Array = total[start : start + self._samples].astype(np.float32)
        return inner

    def spectrum(self, samples: Array) -> Array:
        """Return ``[4, bins, frames]`` of ``(2, samples)``."""
        after = (self.frames - 1) * self._hop + self._n_fft - self._lead - self._samples
        padded = np.pad(samples, ((0, 0), (self._lead, after)), mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(padded, self._n_fft, axis=1)
        frames = views[:, :: self._hop]
        whole = np.fft.rfft(frames * self._window, axis=2)[:, :, : self.bins]
        parts = np.stack([whole.real, whole.imag], axis=1)  # [2, 2, frames, bins]
        ordered = parts.transpose(0, 1, 3, 2).reshape(4, self.bins, self.frames)
        return np.ascontiguousarray(ordered, np.float32)

    def sound(self, spectrum: Array) -> Array:
        """Return ``(2, samples)`` of ``[4, bins, frames]``."""
        parts = spectrum.reshape(2, 2, self.bins, self.frames).transpose(0, 1, 3, 2)
        whole = (parts[:, 0] + 1j * parts[:, 1]).astype(np.complex64)
        pieces = np.fft.irfft(whole, n=self._n_fft, axis=2).astype(np.float32, copy=False)
        pieces *= self._inverse
        sound = np.zeros((2, (self.frames - 1) * self._hop + self._n_fft), np.float32)
        for frame in range(self.frames):
            start = frame * self._hop
            sound[:, start : start + self._n_fft] += pieces[:, frame]
        made: Array = sound[:, self._lead : self._lead + self._samples] / self._power
        return made
