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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from orchestrator.domain.spec import Stem
from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.chunks import ChunkPlan, blend
from orchestrator.separation.engines.model_file import read_sidecar, sidecar_of
from orchestrator.separation.engines.network import Wish, load_network

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block, Stems
    from orchestrator.separation.engines.model_file import Graph
    from orchestrator.separation.engines.network import Array, Network


HOP: Final = 1024


@dataclass(frozen=True, slots=True)
class MdxModel:
    """A file that was recognised, with everything that is needed to load it.

    Attributes:
        path: The file.
        settings: Facts from the JSON file beside it.
        bins: Bins of its spectrum.
        frames: Frames of a chunk.
        is_batch_free: It takes any number of chunks at a time.
        facts: What it is, for people.
    """

    path: Path
    settings: _Settings
    bins: int
    frames: int
    is_batch_free: bool

    @property
    def facts(self) -> tuple[str, ...]:
        """Description of the file, for people."""
        settings = self.settings
        return (
            f"an MDX-Net file: input [1, 4, {self.bins}, {self.frames}]",
            f"chunks of {HOP * (self.frames - 1) / 44100:.1f} s",
            f"frames of {settings.n_fft} samples, compensation {settings.compensate:g}",
            f"estimates the {'voice' if settings.gives_voice else 'background'}",
        )

    def load(self, threads: int) -> MdxEngine:
        """Load the network.

        It is computed with f32: the files are the user's, and nothing shows how they bear less.

        Raises:
            EngineMissing: No runtime is installed.
            Unusable: No runtime can load the file.
        """
        shape = (4, self.bins, self.frames)
        wish = Wish((shape,), threads, f32_only=True, is_batch_free=self.is_batch_free)
        return MdxEngine(load_network(self.path, wish), self)


class MdxEngine:
    """A loaded file.

    Attributes:
        runtime: Runtime, precision and threads, for people.
        stems: The voice.
    """

    stems: tuple[Stem, ...] = (Stem.VOICE,)

    def __init__(self, network: Network, model: MdxModel) -> None:
        self._network = network
        self._settings = model.settings
        self._transform = _Transform(model.settings.n_fft, model.bins, model.frames)
        # The first and the last half frame of a chunk are dropped: their sound was mirrored.
        self._plan = ChunkPlan(
            HOP * (model.frames - 1), margin=model.settings.n_fft // 2, batch=network.batch
        )
        self._shape = (network.batch, 4, model.bins, model.frames)
        self.runtime = network.runtime

    def separate(self, blocks: Iterable[Block]) -> Generator[Stems, None, None]:
        """Yield the voice of a stream, a few chunks late (see ``interface.Engine``)."""
        compute = self._network.stream()

        def estimate(chunks: list[Array]) -> Iterator[Array]:
            spectra = np.zeros(self._shape, np.float32)
            for row, samples in zip(spectra, chunks, strict=False):
                row[:] = self._transform.spectrum(samples)
            (made,) = compute([spectra])
            for samples, spectrum in zip(chunks, made, strict=False):
                yield self._voice(samples, spectrum)[np.newaxis]

        with closing(blend(blocks, self._plan, estimate)) as voices:
            for voice in voices:
                yield {Stem.VOICE: voice[0]}

    def _voice(self, samples: Array, spectrum: Array) -> Array:
        made = self._transform.sound(spectrum)
        made *= np.float32(self._settings.compensate)
        return made if self._settings.gives_voice else samples - made


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
        """Return ``[4, bins, frames]`` of ``(2, samples)``."""
        padded = np.pad(samples, ((0, 0), (self._half, self._half)), mode="reflect")
        views = np.lib.stride_tricks.sliding_window_view(padded, self._n_fft, axis=1)[:, ::HOP]
        whole = np.fft.rfft(views * self._window, axis=2)[:, :, : self._bins]
        parts = np.stack([whole.real, whole.imag], axis=1)  # [2, 2, frames, bins]
        ordered = parts.transpose(0, 1, 3, 2).reshape(4, self._bins, self._frames)
        return np.ascontiguousarray(ordered, np.float32)

    def sound(self, spectrum: Array) -> Array:
        """Return ``(2, samples)`` of ``[4, bins, frames]``; the bins above are silent."""
        parts = spectrum.reshape(2, 2, self._bins, self._frames).transpose(0, 1, 3, 2)
        whole: npt.NDArray[np.complex64] = (parts[:, 0] + 1j * parts[:, 1]).astype(np.complex64)
        pieces = np.fft.irfft(whole, n=self._n_fft, axis=2).astype(np.float32, copy=False)
        pieces *= self._window
        sound = np.zeros((2, (self._frames - 1) * HOP + self._n_fft), np.float32)
        for frame in range(self._frames):
            sound[:, frame * HOP : frame * HOP + self._n_fft] += pieces[:, frame]
        made: Array = sound[:, self._half : -self._half] / self._power
        return made


def recognise_mdx(path: Path, graph: Graph) -> MdxModel | None:
    """Return what an MDX-Net file is; None for one of another kind.

    Raises:
        EngineMissing: Its settings are missing, or do not fit to its shape.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        return None
    (given,), (made,) = graph.inputs, graph.outputs
    is_spectrum = given.fits(4, None, None) and made.fits(4, None, None)
    if not is_spectrum or len(given.shape) != 4 or given.shape[1] != 4:
        return None
    bins, frames = given.shape[2:]
    if bins is None or frames is None:
        raise EngineMissing(
            f"{path} leaves the size of its input open ({graph}); an MDX-Net file states it."
        )
    settings = _read_settings(path)
    most = settings.n_fft // 2 + 1
    if bins > most:
        raise EngineMissing(
            f"The input of {path} has {bins} bins, and frames of {settings.n_fft} samples have at "
            f"most {most}; check {N_FFT} in {path.with_suffix('.json').name}."
        )
    if HOP * (frames - 1) < 4 * settings.n_fft:
        raise EngineMissing(
            f"The chunks of {path} have {HOP * (frames - 1)} samples, too few for frames of "
            f"{settings.n_fft}; check {N_FFT} in {path.with_suffix('.json').name}."
        )
    return MdxModel(path, settings, bins, frames, given.shape[0] is None)


_SHORTEST, _LONGEST = 2048, 1 << 16
"""Samples of a frame: at least two hops."""
N_FFT, _COMPENSATE, _STEM = "mdx_n_fft_scale_set", "compensate", "primary_stem"
_STEMS: Final = {"Vocals": True, "Instrumental": False}
"""Stems that a file may estimate; True for the voice."""


@dataclass(frozen=True, slots=True)
class _Settings:
    """Facts about a file that it does not state itself.

    Attributes:
        n_fft: Samples of a frame.
        compensate: Factor that brings the estimate to its true level.
        gives_voice: The estimate is the voice; else it is the background.
    """

    n_fft: int
    compensate: float = 1.0
    gives_voice: bool = True


def _read_settings(model: Path) -> _Settings:
    """Read the JSON file beside a model: ``voc_ft.json`` for ``voc_ft.onnx``.

    Raises:
        EngineMissing: It is missing, or not valid.
    """
    path = sidecar_of(model)
    example = f'{{"{N_FFT}": 7680, "{_COMPENSATE}": 1.021, "{_STEM}": "Vocals"}}'
    values = read_sidecar(model, example)
    if values is None:
        raise EngineMissing(
            f"The engine {model} is an MDX-Net file, and needs a file {path.name} beside it, with "
            f"the values that its publisher states, for example: {example}"
        )
    return _Settings(
        _valid(path, values, N_FFT, _is_frame),
        _valid(path, values, _COMPENSATE, _is_factor, 1.0),
        _STEMS[_valid(path, values, _STEM, lambda one: one in _STEMS, "Vocals")],
    )


def _valid(
    path: Path, values: dict[str, Any], key: str, is_valid: Callable[[Any], bool], *default: Any
) -> Any:
    value = values.get(key, *default)
    if isinstance(value, bool | list | dict) or not is_valid(value):
        limits = {
            N_FFT: f"an even number from {_SHORTEST} to {_LONGEST}",
            _COMPENSATE: "a number from 0.1 to 10",
            _STEM: " or ".join(_STEMS),
        }
        raise EngineMissing(f"{path}: {key} is {value!r}; it must be {limits[key]}.")
    return value


def _is_frame(value: Any) -> bool:
    return isinstance(value, int) and _SHORTEST <= value <= _LONGEST and value % 2 == 0


def _is_factor(value: Any) -> bool:
    return isinstance(value, int | float) and 0.1 <= value <= 10
