"""The default engine: Deezer's Spleeter 2stems, 512 frames (12 s) at a time."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from orchestrator.domain.spec import Stem
from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.chunks import in_batches
from orchestrator.separation.engines.network import Unusable, Wish, load_network
from orchestrator.separation.engines.stft import GROUP, Analysis, Synthesis
from orchestrator.separation.invocation import command
from orchestrator.separation.read_ahead import ahead

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block, Stems
    from orchestrator.separation.engines.network import Array, Network
    from orchestrator.separation.engines.stft import Spectrum

FRAMES: Final = 512
"""Frames per block, as in the training. The last block is padded with silence."""
BINS: Final = 1536
"""Lowest bins of the spectrum: the network's input, a multiple of 64 (it halves them six times)."""
INPUT: Final = "magnitude"
OUTPUT: Final = "voice_mask"
_UNDER_WAY: Final = 1
"""Blocks of each stage that are in work or ready. The network is the slowest stage: more would only
wait."""

_Masked: TypeAlias = "tuple[Spectrum, Array]"


class SpleeterEngine:
    """A loaded network; it holds about 200 MB, and half as much again while it works.

    Attributes:
        runtime: Runtime, precision and threads, for people.
        stems: The voice.
    """

    stems: tuple[Stem, ...] = (Stem.VOICE,)

    def __init__(self, network: Network) -> None:
        self._network = network
        self.runtime = network.runtime

    def separate(self, blocks: Iterable[Block]) -> Generator[Stems, None, None]:
        """Yield the voice of a stream (see ``interface.Engine``).

        The sound is transformed in one thread, its mask is computed in another, and the voice is
        transformed back in the caller's. The voice is at most 80 seconds late.
        """
        length = _Length()
        synthesis = Synthesis()
        with (
            closing(ahead(_spectra(length.counted(blocks)), _UNDER_WAY)) as spectra,
            closing(ahead(self._masked(spectra), _UNDER_WAY)) as masked,
        ):
            for spectrum, mask in masked:
                for start in range(0, spectrum.shape[1], GROUP):
                    group = slice(start, start + GROUP)
                    # Bins above the network's (16.5 kHz) count as background.
                    voice = synthesis.push(spectrum[:, group] * mask[:, group])
                    yield from map(_as_voice, length.cut(voice))
                del spectrum, mask
            yield from map(_as_voice, length.cut(synthesis.finish()))

    def _masked(self, spectra: Iterable[Spectrum]) -> Generator[_Masked, None, None]:
        """Add the mask of the voice to each spectrum."""
        compute = self._network.stream()
        batch = self._network.batch
        magnitude = np.zeros((batch, 2, FRAMES, BINS), np.float32)
        for several in in_batches(spectra, batch):
            for row, spectrum in zip(magnitude, several, strict=False):
                frames = spectrum.shape[1]
                np.abs(spectrum, out=row[:, :frames])
                row[:, frames:] = 0
            (masks,) = compute([magnitude])
            for spectrum, mask in zip(several, masks, strict=False):
                yield spectrum, mask[:, : spectrum.shape[1]]
            del several, spectrum, mask, masks


def _as_voice(block: Block) -> Stems:
    return {Stem.VOICE: block}


def _spectra(blocks: Iterable[Block]) -> Generator[Spectrum, None, None]:
    analysis = Analysis(FRAMES, BINS)
    for block in blocks:
        yield from analysis.push(block)
    yield from analysis.finish()


class _Length:
    """Cuts the voice to the length of the sound. The sound ends before its last voice is known."""

    def __init__(self) -> None:
        self._received = 0
        self._given = 0

    def counted(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Pass blocks on, and count their samples."""
        for block in blocks:
            self._received += len(block)
            yield block

    def cut(self, voice: Block) -> Iterator[Block]:
        """Yield the part of the voice that belongs to the sound, if any does."""
        kept = voice[: self._received - self._given]
        self._given += len(kept)
        if len(kept):
            yield kept


def load_spleeter(model: Path, threads: int) -> SpleeterEngine:
    """Load the network.

    Args:
        model: The converted weights (``installed.installed_engine``).
        threads: Threads that work on one block.

    Raises:
        EngineMissing: No runtime is installed, or the file is damaged.
    """
    try:
        wish = Wish(((2, FRAMES, BINS),), threads, is_batch_free=True)
        return SpleeterEngine(load_network(model, wish))
    except Unusable as error:
        raise EngineMissing(
            f"The separation engine's weights cannot be loaded ({model} is damaged); "
            f"delete it and run: {command('fetch-engine')}"
        ) from error
