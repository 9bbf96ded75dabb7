"""Join pieces of any rate to blocks of 44.1 kHz stereo, each at its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import av
import numpy as np

from orchestrator.separation.engines.interface import SAMPLERATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.audio.frame import AudioFrame

    from orchestrator.separation.engines.interface import Block
    from orchestrator.separation.media.mixdown import Planes
    from orchestrator.separation.media.timeline import Piece

_SILENCE: Final = SAMPLERATE_HZ
"""Samples of silence in one block."""
_BATCH: Final = 8192
"""Samples that are resampled at once: fewer calls, and still little memory."""
_SHORTEST: Final = 512
"""Samples that the filter needs to return anything; shorter sound is padded, and cut again."""


class Joiner:
    """Joins the pieces of one part of a file.

    Attributes:
        samples: Samples that were returned, at 44.1 kHz.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._zero = 0
        self._skip = 0
        self._converter: _ToStereo | None = None

    def lead(self, seconds: float) -> Iterator[Block]:
        """Return the silence before the first piece."""
        yield from self._silence(round(seconds * SAMPLERATE_HZ))
        self._zero = self.samples

    def push(self, piece: Piece) -> Iterator[Block]:
        """Add a piece, and return what is ready."""
        fits = self._converter is not None and self._converter.fits(piece.planes, piece.rate_hz)
        if piece.move_s is not None or not fits:
            yield from self.finish()
        if piece.move_s is not None:
            gap = self._zero + round(piece.move_s * SAMPLERATE_HZ) - self.samples
            self._skip = max(-gap, 0)
            yield from self._silence(gap)
        if self._converter is None:
            self._converter = _ToStereo(piece.planes, piece.rate_hz)
        yield from self._kept(self._converter.push(piece.planes))

    def finish(self) -> Iterator[Block]:
        """Return the rest."""
        if self._converter is not None:
            yield from self._kept(self._converter.finish())
        self._converter = None

    def _silence(self, count: int) -> Iterator[Block]:
        for start in range(0, count, _SILENCE):
            block = np.zeros((min(_SILENCE, count - start), 2), np.float32)
            self.samples += len(block)
            yield block

    def _kept(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Drop what overlaps with the sound before."""
        for block in blocks:
            cut = min(self._skip, len(block))
            self._skip -= cut
            if cut < len(block):
                self.samples += len(block) - cut
                yield block[cut:]


class _ToStereo:
    """Converter of sound of one rate and channel count."""

    def __init__(self, planes: Planes, rate_hz: int) -> None:
        self._kind = (len(planes), rate_hz)
        self._waiting: list[Planes] = []
        self._count = 0
        self._taken = 0
        self._resampler: av.AudioResampler | None = None
        if rate_hz != SAMPLERATE_HZ:
            self._resampler = av.AudioResampler(
                format="fltp", layout=_layout(planes), rate=SAMPLERATE_HZ
            )

    def fits(self, planes: Planes, rate_hz: int) -> bool:
        """Return True if the sound has this rate and channel count."""
        return self._kind == (len(planes), rate_hz)

    def push(self, planes: Planes) -> Iterator[Block]:
        """Add sound, and return what is ready."""
        self._add(planes)
        return self._batch() if self._count >= _BATCH else iter(())

    def _add(self, planes: Planes) -> None:
        self._waiting.append(planes)
        self._count += planes.shape[1]

    def finish(self) -> Iterator[Block]:
        """Yield the rest, with what the filter still holds."""
        total = self._taken + self._count
        length = round(total * SAMPLERATE_HZ / self._kind[1])
        is_short = self._resampler is not None and 0 < total < _SHORTEST
        if is_short:
            self._add(np.zeros((self._kind[0], 2 * _SHORTEST), np.float32))
            blocks = [*self._batch(), *self._flushed()]
            if blocks:
                yield np.concatenate(blocks)[: max(length, 1)]
            return
        yield from self._batch()
        yield from self._flushed()

    def _flushed(self) -> Iterator[Block]:
        if self._resampler is not None:
            yield from (_out(out) for out in self._resampler.resample(None) if out.samples)

    def _batch(self) -> Iterator[Block]:
        if not self._count:
            return
        planes = self._waiting[0]
        if len(self._waiting) > 1:
            planes = np.concatenate(self._waiting, axis=1)
        self._waiting, self._taken, self._count = [], self._taken + self._count, 0
        if self._resampler is None:
            yield _block(planes)
            return
        # A second at most: the rate that a header states may be as low as 1 Hz.
        step = min(self._kind[1], _BATCH)
        for start in range(0, planes.shape[1], step):
            yield from self._resampled(self._resampler, planes[:, start : start + step])

    def _resampled(self, resampler: av.AudioResampler, planes: Planes) -> Iterator[Block]:
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(planes), format="fltp", layout=_layout(planes)
        )
        frame.sample_rate = self._kind[1]
        yield from (_out(out) for out in resampler.resample(frame) if out.samples)


def _layout(planes: Planes) -> str:
    return "mono" if len(planes) == 1 else "stereo"


def _out(frame: AudioFrame) -> Block:
    return _block(frame.to_ndarray().astype(np.float32, copy=False))


def _block(planes: Planes) -> Block:
    # Mono is doubled here: libswresample would lower it by 3 dB.
    stereo = np.repeat(planes, 2, axis=0) if len(planes) == 1 else planes
    return np.ascontiguousarray(stereo.T, np.float32)
