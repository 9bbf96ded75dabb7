"""Demucs engines: one ONNX file that estimates several stems of a chunk of sound.

Two kinds of such files are published. The *whole* ones take the samples ``[1, 2, samples]`` and
return the stems ``[1, stems, 2, samples]``. The *split* ones leave the transform to the program,
because a graph can hardly express it: they also take the spectrum ``[1, 4, bins, frames]`` (real
and imaginary part of the left channel, then of the right one) and return two parts of each stem,
the spectrum ``[1, stems, 4, bins, frames]`` and the samples ``[1, stems, 2, samples]``, whose sum
is the stem. The transform is that of the training: ``DemucsTransform``.

The order of the stems comes from the file, from the JSON file beside it, or from their number.
"""

from __future__ import annotations

import json
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
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block, Stems
    from orchestrator.separation.engines.model_file import Graph, Value
    from orchestrator.separation.engines.network import Array, Network


_SHORTEST: Final = 4096
"""Samples of a chunk, at least."""
_STEMS: Final = {"vocals": Stem.VOICE, "bass": Stem.BASS, "drums": Stem.DRUMS}
"""Stems that a job may have, by the names in such files; all others are background."""


@dataclass(frozen=True, slots=True)
class DemucsModel:
    """A file that was recognised, with everything that is needed to load it.

    Attributes:
        path: The file.
        samples: Samples of a chunk.
        names: Its stems, in their order.
        ports: Places of its inputs and outputs.
        is_batch_free: It takes any number of chunks at a time.
        n_fft: Samples of a frame of a split file; 0 for a whole one.
    """

    path: Path
    samples: int
    names: tuple[str, ...]
    ports: _Ports
    is_batch_free: bool
    n_fft: int = 0

    @property
    def facts(self) -> tuple[str, ...]:
        """Description of the file, for people."""
        kind = f"with a spectrum beside the samples, frames of {self.n_fft}" if self.n_fft else ""
        return (
            f"a Demucs file: input [1, 2, {self.samples}]{f' {kind}' if kind else ''}",
            f"chunks of {self.samples / 44100:.1f} s",
            f"stems {', '.join(self.names)}",
        )

    def load(self, threads: int) -> DemucsEngine:
        """Load the network; it is computed with f32.

        Raises:
            EngineMissing: No runtime is installed.
            Unusable: No runtime can load the file.
        """
        transform = DemucsTransform(self.n_fft, self.samples) if self.n_fft else None
        shapes: list[tuple[int, ...]] = [(2, self.samples)]
        if transform is not None:
            shapes.insert(self.ports.spectrum_in, (4, transform.bins, transform.frames))
        wish = Wish(tuple(shapes), threads, f32_only=True, is_batch_free=self.is_batch_free)
        return DemucsEngine(load_network(self.path, wish), self, transform)


@dataclass(frozen=True, slots=True)
class _Ports:
    """Places of inputs and outputs; those of the spectra are 0 or 1, and the samples' the rest."""

    spectrum_in: int = 0
    spectrum_out: int = 0
    samples_out: int = 0


class DemucsEngine:
    """A loaded file.

    Attributes:
        runtime: Runtime, precision and threads, for people.
        stems: The stems that it finds, of those that a job may have.
    """

    def __init__(
        self, network: Network, model: DemucsModel, transform: DemucsTransform | None
    ) -> None:
        self._network = network
        self._transform = transform
        self._ports = model.ports
        rows = {
            stem: model.names.index(name) for name, stem in _STEMS.items() if name in model.names
        }
        self.stems = tuple(rows)
        self._rows = list(rows.values())
        # The transform leaves out frames at the ends of a chunk; what they lack is dropped.
        margin = transform.lacking if transform is not None else 0
        self._plan = ChunkPlan(model.samples, margin, network.batch)
        self.runtime = network.runtime

    def separate(self, blocks: Iterable[Block]) -> Generator[Stems, None, None]:
        """Yield the stems of a stream, a few chunks late (see ``interface.Engine``)."""
        compute = self._network.stream()

        def estimate(chunks: list[Array]) -> Iterator[Array]:
            samples = np.zeros((self._plan.batch, 2, self._plan.size), np.float32)
            samples[: len(chunks)] = chunks
            given = [samples]
            if self._transform is not None:
                spectra = np.stack([self._transform.spectrum(row) for row in samples])
                given.insert(self._ports.spectrum_in, spectra)
            made = compute(given)
            for number in range(len(chunks)):
                yield self._stems([output[number] for output in made])

        with closing(blend(blocks, self._plan, estimate)) as several:
            for stems in several:
                yield dict(zip(self.stems, stems, strict=True))

    def _stems(self, made: list[Array]) -> Array:
        """Return the stems of one chunk, of those that a job may have."""
        stems: Array = made[self._ports.samples_out][self._rows]
        if self._transform is not None:
            for place, row in enumerate(self._rows):
                stems[place] += self._transform.sound(made[self._ports.spectrum_out][row])
        return stems


def recognise_demucs(path: Path, graph: Graph) -> DemucsModel | None:
    """Return what a Demucs file is; None for one of another kind.

    Raises:
        EngineMissing: It leaves something open that its JSON file does not state.
    """
    if len(graph.inputs) == 1:
        return _whole(path, graph)
    if len(graph.inputs) == 2 and len(graph.outputs) == 2:
        return _split(path, graph)
    return None


def _whole(path: Path, graph: Graph) -> DemucsModel | None:
    (given,) = graph.inputs
    fitting = [place for place, one in enumerate(graph.outputs) if _is_stems(one, given, 2)]
    if not _is_samples(given) or len(fitting) != 1:
        return None
    return _model(path, graph, given, _Ports(samples_out=fitting[0]))


def _split(path: Path, graph: Graph) -> DemucsModel | None:
    for place in (0, 1):
        spectrum, samples = graph.inputs[place], graph.inputs[1 - place]
        if not (_is_samples(samples) and len(spectrum.shape) == 4 and spectrum.shape[1] == 4):
            continue
        for out in (0, 1):
            made, rest = graph.outputs[out], graph.outputs[1 - out]
            if _is_stems(made, spectrum, 4) and _is_stems(rest, samples, 2):
                ports = _Ports(place, out, 1 - out)
                return _model(path, graph, samples, ports, spectrum)
    return None


def _is_samples(value: Value) -> bool:
    return len(value.shape) == 3 and value.shape[1] == 2


def _is_stems(made: Value, given: Value, parts: int) -> bool:
    """Return True if an output has several times the shape of an input."""
    shape = made.shape
    return len(shape) >= 3 and shape[2] == parts and made.fits(None, *given.shape[1:])


def _model(
    path: Path, graph: Graph, samples: Value, ports: _Ports, spectrum: Value | None = None
) -> DemucsModel:
    count = graph.outputs[ports.samples_out].shape[1]
    settings = _read_settings(path, graph.notes, count)
    size = samples.shape[2] or settings.samples
    if size is None:
        raise EngineMissing(
            f"{path} leaves the length of its input open ({graph}). State it in a file "
            f'{path.with_suffix(".json").name} beside it, for example: {{"samples": 343980}}'
        )
    n_fft = _n_fft(path, size, spectrum, graph) if spectrum is not None else 0
    if size < max(_SHORTEST, 2 * n_fft):
        raise EngineMissing(f"The chunks of {path} have {size} samples, too few to separate.")
    values = (*graph.inputs, *graph.outputs)
    is_free = all(value.shape[0] is None for value in values)
    return DemucsModel(path, size, settings.names, ports, is_free, n_fft)


def _n_fft(path: Path, samples: int, spectrum: Value, graph: Graph) -> int:
    """Return the samples of a frame: twice the bins, because the highest one is left out."""
    bins, frames = spectrum.shape[2:]
    transform = DemucsTransform(2 * bins, samples) if bins and bins % 2 == 0 else None
    if transform is None or frames not in {None, transform.frames}:
        expected = f"{transform.frames} frames" if transform is not None else "even bins"
        raise EngineMissing(
            f"The inputs of {path} do not fit to each other ({graph}): for {samples} samples, the "
            f"spectrum of a Demucs file has {expected}."
        )
    return 2 * (bins or 0)


_DEFAULTS: Final = {
    4: ("drums", "bass", "other", "vocals"),
    6: ("drums", "bass", "other", "vocals", "guitar", "piano"),
}
"""Orders of the published models (``htdemucs`` and ``htdemucs_6s``)."""
_VOICE_NAME: Final = "vocals"
_STEMS_KEY, _SAMPLES_KEY = "stems", "samples"
_NOTES: Final = (_STEMS_KEY, "sources")
"""Keys of the metadata of a file that may list its stems."""
_RATES: Final = ("samplerate", "sample_rate")
_RATE_HZ: Final = "44100"
_MOST_SAMPLES: Final = 60 * 44100


@dataclass(frozen=True, slots=True)
class _Settings:
    """Facts about a file.

    Attributes:
        names: Its stems, in their order.
        samples: Samples of a chunk, if the file leaves them open.
    """

    names: tuple[str, ...]
    samples: int | None = None


def _read_settings(model: Path, notes: Mapping[str, str], count: int | None) -> _Settings:
    """Return the stems of a file, and the length of its chunks.

    Args:
        model: The file.
        notes: Its metadata.
        count: Number of its stems, if its shape states it.

    Raises:
        EngineMissing: They are not known, or do not fit to its shape.
    """
    for key in _RATES:
        if notes.get(key, _RATE_HZ) != _RATE_HZ:
            raise EngineMissing(
                f"{model} works at {notes[key]} Hz; only engines of {_RATE_HZ} Hz can be used."
            )
    example = '{"stems": ["drums", "bass", "other", "vocals"]}'
    values = read_sidecar(model, example) or {}
    samples = values.get(_SAMPLES_KEY)
    if samples is not None and not _is_length(samples):
        raise EngineMissing(
            f"{sidecar_of(model)}: {_SAMPLES_KEY} is {samples!r}; it must be a number from 4096 to "
            f"{_MOST_SAMPLES}, even and without quotes."
        )
    stated = values.get(_STEMS_KEY) or _noted(notes)
    names = stated or _DEFAULTS.get(count or 4)
    if names is None:
        raise EngineMissing(
            f"{model} has {count} stems, and does not name them. Name them in their order in "
            f"{sidecar_of(model).name} beside it, for example: {example}"
        )
    return _Settings(_valid_names(model, names, count), samples)


def _noted(notes: Mapping[str, str]) -> Any:
    """Return the stems that the metadata lists: a JSON list, or names with commas."""
    text = next((notes[key] for key in _NOTES if notes.get(key)), "")
    try:
        return json.loads(text)
    except ValueError:
        return [name.strip(" '\"[]()") for name in text.split(",")] if text else None


def _valid_names(model: Path, names: Any, count: int | None) -> tuple[str, ...]:
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        fault = "it must be a list of names"
    elif len(names) != (count or len(names)):
        fault = f"the file has {count} stems"
    elif len(set(names)) < len(names):
        fault = "a name is there twice"
    elif _VOICE_NAME not in names:
        fault = f'one of them must be "{_VOICE_NAME}", the voice'
    else:
        return tuple(names)
    shown = json.dumps(names)[:200]
    raise EngineMissing(
        f"The stems of {model} are {shown}; {fault}. Correct {_STEMS_KEY} in "
        f"{sidecar_of(model).name} beside it."
    )


def _is_length(value: Any) -> bool:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return is_number and 4096 <= value <= _MOST_SAMPLES and value % 2 == 0


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
