"""MDX-Net engines: one ONNX file that estimates the spectrum of one stem.

The input and the output have the shape ``[1, 4, bins, frames]``: real and imaginary part of the
left channel, then of the right one; the lowest bins of frames every 1024 samples, with a periodic
Hann window. A chunk has ``1024 * (frames - 1)`` samples and is mirrored at both ends, like the
chunks of the training. The length of a frame, the level and the stem do not follow from the file;
a JSON file beside it states them, with the keys of the collections in which such files are
published.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from orchestrator.errors import EngineMissing
from orchestrator.separation.ahead import ahead
from orchestrator.separation.engines.mdx_settings import N_FFT, read_settings
from orchestrator.separation.engines.network import Unusable
from orchestrator.separation.engines.runtimes import load_network

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block
    from orchestrator.separation.engines.mdx_settings import MdxSettings
    from orchestrator.separation.engines.network import Array, Network

HOP: Final = 1024
_OVERLAP: Final = 4
"""A quarter of each chunk is blended with the next one, so that no seam is heard."""


class MdxEngine:
    """A loaded file.

    Attributes:
        runtime: Runtime, precision and threads, for people.
    """

    def __init__(self, network: Network, settings: MdxSettings) -> None:
        self._network = network
        self._settings = settings
        self._bins, self._frames = network.shape[2:]
        self._margin = settings.n_fft // 2
        self.runtime = network.runtime

    def voice(self, blocks: Iterable[Block]) -> Generator[Block, None, None]:
        """Yield the voice of a stream, at most three chunks late (see ``interface.VoiceEngine``).

        The first and the last half frame of a chunk are dropped: their sound was mirrored.
        """
        chunk = HOP * (self._frames - 1)
        kept = chunk - 2 * self._margin
        blended = kept // _OVERLAP
        rising = (np.arange(blended, dtype=np.float32) + np.float32(0.5)) / np.float32(blended)
        tail = np.zeros((0, 2), np.float32)
        chunks = ahead(_chunks(blocks, chunk, kept - blended, self._margin), 1)
        with closing(chunks), closing(ahead(self._estimates(chunks), 1)) as estimates:
            for voice, length in estimates:
                voice[: len(tail)] *= rising[: len(tail), np.newaxis]
                voice[: len(tail)] += tail
                ready = min(kept - blended, length)
                yield voice[:ready]
                tail = voice[kept - blended :] * rising[::-1, np.newaxis]

    def _estimates(
        self, chunks: Iterable[tuple[Array, int]]
    ) -> Generator[tuple[Block, int], None, None]:
        """Yield the voice of each chunk without its margins, and the samples left in the sound."""
        compute = self._network.stream()
        transform = _Transform(self._settings.n_fft, self._bins, self._frames)
        for samples, length in chunks:
            made = transform.sound(compute(transform.spectrum(samples)))
            made *= np.float32(self._settings.compensate)
            voice = made if self._settings.gives_voice else samples - made
            yield np.ascontiguousarray(voice[:, self._margin : -self._margin].T), length


def _chunks(
    blocks: Iterable[Block], size: int, step: int, margin: int
) -> Generator[tuple[Array, int], None, None]:
    """Yield overlapping chunks ``(2, size)``, and the samples of the sound from each one's margin.

    The sound begins after a margin of silence, and silence follows its end.
    """
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


class _Transform:
    """The transform of the training: frames around every 1024th sample, Hann, mirrored ends."""

    def __init__(self, n_fft: int, bins: int, frames: int) -> None:
        self._n_fft = n_fft
        self._bins = bins
        self._frames = frames
        self._half = n_fft // 2
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
        self._window: Array = window.astype(np.float32)
        power = np.zeros((frames - 1) * HOP + n_fft)
        for frame in range(frames):
            power[frame * HOP : frame * HOP + n_fft] += np.square(window)
        self._power: Array = power[self._half : -self._half].astype(np.float32)

    def spectrum(self, samples: Array) -> Array:
        """Return ``[1, 4, bins, frames]`` of ``(2, samples)``."""
        padded = np.pad(samples, ((0, 0), (self._half, self._half)), mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(padded, self._n_fft, axis=1)[:, ::HOP]
        whole = np.fft.rfft(views * self._window, axis=2)[:, :, : self._bins]
        parts = np.stack([whole.real, whole.imag], axis=1)  # [2, 2, frames, bins]
        ordered = parts.transpose(0, 1, 3, 2).reshape(1, 4, self._bins, self._frames)
        return np.ascontiguousarray(ordered, np.float32)

    def sound(self, spectrum: Array) -> Array:
        """Return ``(2, samples)`` of ``[1, 4, bins, frames]``; the bins above are silent."""
        parts = spectrum.reshape(2, 2, self._bins, self._frames).transpose(0, 1, 3, 2)
        whole: npt.NDArray[np.complex64] = (parts[:, 0] + 1j * parts[:, 1]).astype(np.complex64)
        pieces = np.fft.irfft(whole, n=self._n_fft, axis=2).astype(np.float32, copy=False)
        pieces *= self._window
        sound = np.zeros((2, (self._frames - 1) * HOP + self._n_fft), np.float32)
        for frame in range(self._frames):
            sound[:, frame * HOP : frame * HOP + self._n_fft] += pieces[:, frame]
        made: Array = sound[:, self._half : -self._half] / self._power
        return made


def load_mdx(model: Path, threads: int) -> MdxEngine:
    """Load a file.

    It is computed with f32: the files are the user's, and nothing shows how they bear less.

    Raises:
        EngineMissing: It is missing, damaged, or of another kind; its settings are missing.
    """
    if not model.is_file():
        raise EngineMissing(f"The engine {model} does not exist or is not a file.")
    settings = read_settings(model)
    try:
        network = load_network(model, (1, None, None, None), threads, f32_only=True)
    except Unusable as error:
        raise EngineMissing(
            f"The engine {model} cannot be loaded: it is damaged, or not an MDX-Net file in the "
            f"ONNX format ({str(error).splitlines()[0][:200]})."
        ) from error
    shape = network.shape
    is_possible = len(shape) == 4 and shape[1] == 4
    if not is_possible or shape[2] > settings.n_fft // 2 + 1:
        raise EngineMissing(
            f"The input of {model} has the shape {list(shape)}; an MDX-Net file has "
            f"[1, 4, bins, frames], and at most {settings.n_fft // 2 + 1} bins at "
            f"{N_FFT} {settings.n_fft}."
        )
    if HOP * (shape[3] - 1) < 4 * settings.n_fft:
        raise EngineMissing(
            f"The chunks of {model} have {HOP * (shape[3] - 1)} samples, too few for frames of "
            f"{settings.n_fft}; check {N_FFT} in {model.with_suffix('.json').name}."
        )
    return MdxEngine(network, settings)
