"""Decode any audio or video file into blocks of 44.1 kHz stereo, a packet at a time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import av
import numpy as np

from orchestrator.separation.engines.interface import SAMPLERATE_HZ
from orchestrator.separation.errors import RESOURCE_NOT_SUPPORTED, SeparationFailed
from orchestrator.separation.media.byte_source import byte_source
from orchestrator.separation.media.completeness import (
    joined_fault,
    notes_on_damage,
    refuse_incomplete,
)
from orchestrator.separation.media.container import open_media
from orchestrator.separation.media.mixdown import mix_for, notes_on_mix
from orchestrator.separation.media.reader import Reader
from orchestrator.separation.media.spans import Span, spans_of
from orchestrator.separation.media.stated_length import stated_by
from orchestrator.separation.media.timeline import (
    LONGEST_HOLE_S,
    TimeLine,
    TimeStampsUnusable,
    notes_on_time,
)
from orchestrator.separation.media.tracks import choose_track

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from av.audio.frame import AudioFrame
    from av.container import InputContainer

    from orchestrator.separation.engines.interface import Block
    from orchestrator.separation.media.mixdown import Planes
    from orchestrator.separation.media.timeline import Piece


class Decoder:
    """Decoder of the main audio track of an open file.

    Attributes:
        channels: Channels of the track, as far as the default of an output is concerned.
        declared_s: Length according to the file, or an estimate, or None; for progress.
        samples: Number of decoded samples, at 44.1 kHz.
        scale: Factor of all samples; below 1 if the file exceeds full scale.
    """

    def __init__(self, path: Path, container: InputContainer) -> None:
        self._path = path
        with _faults_of_the_input():
            self._survey(container)
        self.samples = 0
        self.scale = 1.0
        self._lead_s = 0.0
        self._readers: list[Reader] = []
        self._lines: list[TimeLine] = []

    def _survey(self, container: InputContainer) -> None:
        """Choose the track, find the parts of the file, and read what its header states."""
        track, self._choice = choose_track(self._path, container)
        self._chosen: dict[Span | None, int] = {None: track.index}
        spans = spans_of(self._path, container.format.name, track)
        self._spans: list[Span | None] = [*spans] or [None]
        self._chosen |= dict.fromkeys((span for span in spans if span.edit), track.index)
        for span in self._spans:
            if span is not None and span.fault:
                raise SeparationFailed(RESOURCE_NOT_SUPPORTED, span.fault)
        with byte_source(self._path) as source:
            if fault := joined_fault(source, container.format.name):
                raise SeparationFailed(RESOURCE_NOT_SUPPORTED, fault)
            self._stated = stated_by(source)
        self.declared_s = self._declared(Reader(container, track))
        layout = track.codec_context.layout
        names = tuple(channel.name for channel in layout.channels)
        self.channels = max(mix_for(layout.name, names).channels, 1)

    @property
    def length_s(self) -> float:
        """Length of the decoded sound."""
        return self.samples / SAMPLERATE_HZ

    def part(self, samples: int) -> float:
        """Return the share of ``samples`` in the declared length, 0 to 1; 0 if none is declared."""
        return min(samples / SAMPLERATE_HZ / self.declared_s, 1.0) if self.declared_s else 0.0

    @property
    def notes(self) -> list[str]:
        """Sentences about everything that makes the result differ from the plain sound."""
        notes = [self._choice]
        joined = [span for span in self._spans if span is None or span.edit is None]
        if len(joined) > 1:
            notes.append(f"The input is {len(joined)} joined files; they are one sound here.")
        notes += [span.note for span in self._spans if span is not None]
        notes += notes_on_time(self._lines, self._lead_s)
        notes += notes_on_damage(self._readers)
        mixers = [mixer for reader in self._readers for mixer in reader.mixers]
        notes += notes_on_mix(mixers, self.scale)
        return [note for note in dict.fromkeys(notes) if note]

    def blocks(self) -> Iterator[Block]:
        """Yield the sound in blocks ``(samples, 2)``.

        Raises:
            SeparationFailed: ``ResourceNotSupported``: nothing could be decoded, too much is
                damaged, or the end is missing.
        """
        with _faults_of_the_input():
            checked = self._measure()
            for span in self._spans:
                for block in self._sound(span, is_checked=span in checked):
                    self.samples += len(block)
                    yield block if self.scale == 1 else block * np.float32(self.scale)
            self._refuse_empty()

    def _declared(self, reader: Reader) -> float | None:
        spans = [span for span in self._spans if span is not None]
        lengths = [span.edit.length_s if span.edit else span.found_s or 0.0 for span in spans]
        return sum(lengths) or reader.stated_s

    @contextmanager
    def _reader(self, span: Span | None, *, is_checked: bool = False) -> Iterator[Reader]:
        with open_media(self._path, span) as container:
            if span not in self._chosen:
                self._chosen[span] = choose_track(self._path, container, span)[0].index
            track = container.streams[self._chosen[span]]
            assert isinstance(track, av.AudioStream)  # noqa: S101 - it was one before
            yield Reader(container, track, span, is_checked=is_checked)

    def _measure(self) -> list[Span | None]:
        """Set the factor that brings the largest sample to full scale, and return the valid parts.

        Only floats can exceed full scale, or be invalid. They are decoded twice, which takes 1 to
        2 % of the whole job, and finds damage before the work.
        """
        peak, valid = 1.0, []
        for span in self._spans:
            if _is_silence(span):
                continue
            with self._reader(span) as reader:
                if not reader.gives_floats:
                    continue
                for _ in reader.pieces():
                    pass
                self._refuse_incomplete(reader, span, reader.sound_s)
                peak = max([peak, *(mixer.peak for mixer in reader.mixers)])
                if not any(mixer.invalid for mixer in reader.mixers):
                    valid.append(span)
        self.scale = 1 / peak
        return valid

    def _sound(self, span: Span | None, *, is_checked: bool) -> Iterator[Block]:
        """Yield one part: a silence, or sound."""
        if span is not None and span.edit is not None and _is_silence(span):
            yield from _Joiner().lead(_bounded(span.edit.length_s))
            return
        with self._reader(span, is_checked=is_checked) as reader:
            self._readers.append(reader)
            yield from self._part(reader, span)

    def _part(self, reader: Reader, span: Span | None) -> Iterator[Block]:
        """Yield one part on its time line."""
        line = TimeLine(clock_may_be_set=reader.clock_may_be_set)
        self._lines.append(line)
        joiner = _Joiner()
        for number, piece in enumerate(_placed(reader, line)):
            if not number and span is self._spans[0]:
                self._lead_s = _bounded(reader.lead_s(piece.at_s, self._stated))
                yield from joiner.lead(self._lead_s)
            yield from joiner.push(piece)
        yield from joiner.finish()
        self._refuse_incomplete(reader, span, joiner.samples / SAMPLERATE_HZ)
        if span is not None and span.edit is not None and span is not self._spans[-1]:
            # An edit may be longer than the sound; the next one has its place all the same.
            yield from joiner.lead(_bounded(span.edit.length_s - joiner.samples / SAMPLERATE_HZ))

    def _refuse_incomplete(self, reader: Reader, span: Span | None, length_s: float) -> None:
        with byte_source(self._path) as source:
            refuse_incomplete(reader, self._stated, span, length_s, source)

    def _refuse_empty(self) -> None:
        if not self.samples:
            damaged = any(reader.damaged for reader in self._readers)
            fault = "no part could be decoded" if damaged else "its length is zero"
            raise SeparationFailed(
                RESOURCE_NOT_SUPPORTED,
                f"The input has an audio track, but {fault}; upload it again.",
            )


def _is_silence(span: Span | None) -> bool:
    return span is not None and span.edit is not None and span.edit.start_s is None


def _placed(reader: Reader, line: TimeLine) -> Iterator[Piece]:
    for piece in reader.pieces():
        yield from line.add(piece)
    yield from line.finish(reader.stated_s)


def _bounded(lead_s: float) -> float:
    return lead_s if lead_s <= LONGEST_HOLE_S else 0.0


@contextmanager
def _faults_of_the_input() -> Iterator[None]:
    """Report everything that the content of a file can cause as a fault of that file.

    Faults of the machine stay what they are: the file is read by Python, so that the system's
    errors arrive as themselves, and not as FFmpeg's.
    """
    try:
        yield
    except SeparationFailed:
        raise
    except TimeStampsUnusable as error:
        raise SeparationFailed(
            RESOURCE_NOT_SUPPORTED,
            "The input is damaged: its time stamps jump by more than an hour; convert it, for "
            "example to flac, so that it gets new ones.",
        ) from error
    except Exception as error:
        is_fault_of_machine = isinstance(error, MemoryError | OSError)
        if is_fault_of_machine and not isinstance(error, av.FFmpegError):
            raise
        raise SeparationFailed(
            RESOURCE_NOT_SUPPORTED,
            f"The input could not be read ({type(error).__name__}: {error}); convert it, for "
            "example to flac or m4a.",
        ) from error


_SILENCE: Final = SAMPLERATE_HZ
"""Samples of silence in one block."""
_BATCH: Final = 8192
"""Samples that are resampled at once: fewer calls, and still little memory."""
_SHORTEST: Final = 512
"""Samples that the filter needs to return anything; shorter sound is padded, and cut again."""


class _Joiner:
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
