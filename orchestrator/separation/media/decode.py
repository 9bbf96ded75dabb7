"""Decode any audio or video file into blocks of 44.1 kHz stereo, a packet at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import av
import numpy as np

from orchestrator.separation.engines.interface import SAMPLERATE_HZ
from orchestrator.separation.errors import RESOURCE_NOT_SUPPORTED, SeparationFailed
from orchestrator.separation.media.container import has_decoder
from orchestrator.separation.media.truncation import missing_s

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

    from orchestrator.separation.engines.interface import Block

SWR_OPTIONS: Final = {"rematrix_maxval": "1"}
"""Scale a downmix so that it cannot clip; libswresample needs the option for float samples."""
_DAMAGE_ALLOWED: Final = 3
"""Packets that may fail: garbage around the frames of an mp3 is common and harmless."""
_DAMAGE_ALLOWED_SHARE: Final = 0.01


class Decoder:
    """Decoder of the main audio track of an open file.

    Attributes:
        channels: Channels of the track.
        declared_s: Length according to the file, or an estimate, or None; for progress.
        samples: Number of decoded samples, at 44.1 kHz.
    """

    def __init__(self, path: Path, container: InputContainer) -> None:
        self._path = path
        self._container = container
        self._stream = _main_track(container)
        self.channels = self._stream.codec_context.channels
        self.declared_s = _declared(container, self._stream)
        self.samples = 0
        self._packets = 0
        self._damaged = 0

    @property
    def length_s(self) -> float:
        """Length of the decoded sound."""
        return self.samples / SAMPLERATE_HZ

    @property
    def done_part(self) -> float:
        """Decoded part of the declared length, 0 to 1; 0 if the file declares none."""
        return min(self.length_s / self.declared_s, 1.0) if self.declared_s else 0.0

    def blocks(self) -> Iterator[Block]:
        """Yield the sound in blocks ``(samples, 2)``.

        Raises:
            SeparationFailed: ``ResourceNotSupported``: nothing could be decoded, too much is
                damaged, or the end is missing.
        """
        resampler: _ToStereo | None = None
        for frame in self._frames():
            if resampler is None or not resampler.fits(frame):
                if resampler is not None:  # some streams change their rate or layout
                    yield from self._counted(resampler.push(None))
                resampler = _ToStereo(frame)
            yield from self._counted(resampler.push(frame))
        if resampler is not None:
            yield from self._counted(resampler.push(None))
        self._refuse_incomplete()

    def _frames(self) -> Iterator[AudioFrame]:
        """Yield the decoded frames; a packet that cannot be decoded is counted and skipped."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:  # the container itself is damaged; the end reports it
                self._damaged += 1
                break
            if packet is None:
                break
            self._packets += 1
            try:
                yield from self._stream.decode(packet)
            except av.FFmpegError:
                self._damaged += 1

    def _counted(self, blocks: list[Block]) -> Iterator[Block]:
        for block in blocks:
            self.samples += len(block)
            yield block

    def _refuse_incomplete(self) -> None:
        if self._damaged > max(_DAMAGE_ALLOWED, _DAMAGE_ALLOWED_SHARE * self._packets):
            raise SeparationFailed(
                RESOURCE_NOT_SUPPORTED,
                f"The input is damaged: {self._damaged} of {self._packets} packets of its sound "
                "could not be decoded; upload it again.",
            )
        missing = missing_s(self._path, self._container.format.name, self.declared_s, self.length_s)
        if missing:
            raise SeparationFailed(
                RESOURCE_NOT_SUPPORTED,
                f"The input is cut off: its header states {self.length_s + missing:.1f} s of "
                f"sound, but only {self.length_s:.1f} s are present; upload it again.",
            )
        if not self.samples:
            fault = "no part could be decoded" if self._damaged else "its length is zero"
            raise SeparationFailed(
                RESOURCE_NOT_SUPPORTED,
                f"The input has an audio track, but {fault}; upload it again.",
            )


class _ToStereo:
    """Converter of frames of one format to 44.1 kHz stereo."""

    def __init__(self, frame: AudioFrame) -> None:
        self._kind = _kind(frame)
        # Mono stays mono here and is doubled later: libswresample would lower it by 3 dB.
        layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
        self._resampler = av.AudioResampler(
            format="fltp", layout=layout, rate=SAMPLERATE_HZ, options=SWR_OPTIONS
        )

    def fits(self, frame: AudioFrame) -> bool:
        """Return True if the frame has this format."""
        return _kind(frame) == self._kind

    def push(self, frame: AudioFrame | None) -> list[Block]:
        """Resample one frame; None returns the rest that the filter still holds."""
        if frame is not None:
            frame.pts = None  # ignore gaps and overlaps in the time stamps
        return [_block(out) for out in self._resampler.resample(frame) if out.samples]


def _block(frame: AudioFrame) -> Block:
    planes = frame.to_ndarray()
    stereo = np.repeat(planes, 2, axis=0) if len(planes) == 1 else planes
    return np.ascontiguousarray(stereo.T, np.float32)


def _kind(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _main_track(container: InputContainer) -> AudioStream:
    """Return the track that FFmpeg prefers (most channels, default flag)."""
    if not container.streams.audio:
        found = "pictures only" if container.streams.video else "no audio track"
        raise SeparationFailed(
            RESOURCE_NOT_SUPPORTED, f"The input has {found}; there is nothing to separate."
        )
    best = container.streams.best("audio")
    track = best if isinstance(best, av.AudioStream) else container.streams.audio[0]
    if not has_decoder(track):
        raise SeparationFailed(
            RESOURCE_NOT_SUPPORTED,
            "The codec of the input's sound is not supported here; convert it, for example to mp3.",
        )
    return track


def _declared(container: InputContainer, stream: AudioStream) -> float | None:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None
