"""Demucs engines: one ONNX file that estimates several stems of a chunk of sound.

Two kinds of such files are published. The *whole* ones take the samples ``[1, 2, samples]`` and
return the stems ``[1, stems, 2, samples]``. The *split* ones leave the transform to the program,
because a graph can hardly express it: they also take the spectrum ``[1, 4, bins, frames]`` (real
and imaginary part of the left channel, then of the right one) and return two parts of each stem,
the spectrum ``[1, stems, 4, bins, frames]`` and the samples ``[1, stems, 2, samples]``, whose sum
is the stem. The transform is that of the training: ``demucs_transform``.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from orchestrator.domain.spec import Stem
from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.chunks import ChunkPlan, blend
from orchestrator.separation.engines.demucs_settings import read_demucs_settings
from orchestrator.separation.engines.demucs_transform import DemucsTransform
from orchestrator.separation.engines.network import Wish, load_network

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from orchestrator.separation.engines.graph import Graph, Value
    from orchestrator.separation.engines.interface import Block, Stems
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
    settings = read_demucs_settings(path, graph.notes, count)
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
