"""Encode blocks of 44.1 kHz stereo into files, a block at a time."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final, Self, cast

import av
import numpy as np

from orchestrator.separation.engines.interface import SAMPLERATE_HZ

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream

    from orchestrator.domain.spec import Stem
    from orchestrator.separation.engines.interface import Block
    from orchestrator.separation.formats import OutputFormat


@dataclass(frozen=True, slots=True)
class _Writer:
    """FFmpeg's names for one codec: container, encoder, sample format."""

    container: str
    encoder: str
    sample_fmt: str


_WRITERS: Final[dict[str, _Writer]] = {
    "aac": _Writer("adts", "aac", "fltp"),
    "mp3": _Writer("mp3", "libmp3lame", "fltp"),
    "flac": _Writer("flac", "flac", "s16"),
    "amr": _Writer("amr", "libopencore_amrnb", "s16"),
    "wav": _Writer("wav", "pcm_s16le", "s16"),
}
_SWR_OPTIONS: Final = {"rematrix_maxval": "1"}
"""Scale a mix so that it cannot clip; libswresample needs the option for float samples."""
_LAYOUTS: Final = {1: "mono", 2: "stereo", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
"""Layout of each channel count, the same for all codecs: those that a bare AAC stream can name."""
_AMR_KBPS: Final = (4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2)
"""The eight modes of AMR-NB (3GPP TS 26.071); its encoder accepts no other bitrate."""
_AAC_FAST_KBPS_PER_CHANNEL: Final = 64
"""From this bitrate on, FFmpeg's fast coder is at least as good as its default one, in a third of
the time (FFmpeg's documentation, and our measurements)."""
_SHORTEST_TO_RESAMPLE: Final = 1024
"""Samples (23 ms). Shorter sound is padded with silence: a resampler would return nothing for it,
and a file needs at least one sample."""
_CHUNK: Final = 65536
"""Samples that are encoded at once; limits the memory of resampled frames."""
_MOST_WAITING: Final = 32
"""Blocks of all stems that wait for their encoder: with the engine's blocks, 12 s of sound."""


class StemWriter:
    """The file of one stem.

    Attributes:
        samples: Number of written samples, at 44.1 kHz.
    """

    def __init__(self, path: Path, form: OutputFormat) -> None:
        writer = _WRITERS[form.codec]
        self.samples = 0
        self._shortest = 1 if form.samplerate_hz == SAMPLERATE_HZ else _SHORTEST_TO_RESAMPLE
        self._mono = form.channels == 1
        self._container = av.open(f"file:{path.absolute()}", "w", format=writer.container)
        self._stream = cast(
            "AudioStream", self._container.add_stream(writer.encoder, rate=form.samplerate_hz)
        )
        codec = self._stream.codec_context
        codec.layout = _LAYOUTS[form.channels]
        codec.format = av.AudioFormat(writer.sample_fmt)
        codec.time_base = Fraction(1, form.samplerate_hz)
        if form.bitrate_kbps:
            codec.bit_rate = _bitrate_bps(form)
        if form.codec == "aac" and form.bitrate_kbps >= _AAC_FAST_KBPS_PER_CHANNEL * form.channels:
            codec.options = {"aac_coder": "fast"}
        codec.open()
        self._resampler = av.AudioResampler(
            format=writer.sample_fmt,
            layout=_LAYOUTS[form.channels],
            rate=form.samplerate_hz,
            frame_size=codec.frame_size or None,
            options=_SWR_OPTIONS,
        )

    def write(self, block: Block) -> None:
        """Append sound."""
        for start in range(0, len(block), _CHUNK):
            self._push(self._frame(block[start : start + _CHUNK]))
        self.samples += len(block)

    def close(self) -> None:
        """Write the rest that the encoder still holds, and the file's trailer."""
        if self.samples < self._shortest:
            self._push(self._frame(np.zeros((self._shortest - self.samples, 2), np.float32)))
        self._push(None)
        self._container.mux(self._stream.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close the file without completing it."""
        self._container.close()

    def _push(self, frame: AudioFrame | None) -> None:
        for ready in self._resampler.resample(frame):
            if ready.samples:
                self._container.mux(self._stream.encode(ready))

    def _frame(self, block: Block) -> AudioFrame:
        # The mean, not libswresample's sum at -3 dB: it restores a mono channel that was doubled.
        planes = block.mean(axis=1, dtype=np.float32)[np.newaxis] if self._mono else block.T
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(planes), format="fltp", layout="mono" if self._mono else "stereo"
        )
        frame.sample_rate = SAMPLERATE_HZ
        frame.pts = self.samples
        frame.time_base = Fraction(1, SAMPLERATE_HZ)
        return frame


class StemWriters:
    """The files of all stems, each written in its own thread while more sound is separated.

    Leaving the context without ``close`` abandons the files.
    """

    def __init__(self, outputs: dict[Stem, Path], form: OutputFormat) -> None:
        self._abandoned = ExitStack()
        self._waiting: deque[Future[None]] = deque()
        self._writers: dict[Stem, StemWriter] = {}
        self._threads: dict[Stem, ThreadPoolExecutor] = {}
        for stem, path in outputs.items():
            self._writers[stem] = StemWriter(path, form)
            self._abandoned.callback(self._writers[stem].abandon)
        # FFmpeg's encoders release the interpreter lock. One thread per file keeps the order.
        for stem in outputs:
            self._threads[stem] = ThreadPoolExecutor(1, thread_name_prefix="encode")
            self._abandoned.callback(self._threads[stem].shutdown, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._abandoned.close()

    def write(self, sound: dict[Stem, Block]) -> None:
        """Append to each file; an error may be that of earlier sound."""
        for stem, writer in self._writers.items():
            self._waiting.append(self._threads[stem].submit(writer.write, sound[stem]))
        self._wait(_MOST_WAITING)

    def close(self) -> None:
        """Complete all files."""
        self._wait(0)
        for stem, writer in self._writers.items():
            self._waiting.append(self._threads[stem].submit(writer.close))
        self._wait(0)

    def _wait(self, most: int) -> None:
        """Wait until at most ``most`` blocks are not written."""
        while len(self._waiting) > most:
            self._waiting.popleft().result()


def _bitrate_bps(form: OutputFormat) -> int:
    """Return the bitrate for the encoder, which clamps it itself; AMR's accepts only its modes."""
    if form.codec != "amr":
        return form.bitrate_kbps * 1000
    return round(
        1000 * max((mode for mode in _AMR_KBPS if mode <= form.bitrate_kbps), default=_AMR_KBPS[0])
    )
