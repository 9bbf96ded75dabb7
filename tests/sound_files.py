"""Media files for tests, written packet by packet, so that time stamps can be anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.stream import Disposition

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt
    from av.audio.stream import AudioStream
    from av.packet import Packet

RATE = 44100


def tone(seconds: float, hertz: float = 500, level: float = 0.3, rate: int = RATE) -> Any:
    """Return a sine, as one row."""
    time_s = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hertz * time_s)).astype(np.float32)[np.newaxis]


@dataclass
class Track:
    """An audio track.

    Attributes:
        pieces: Sound (channels, samples) by the instant at which it starts.
        codec: FFmpeg's name of the encoder.
        layout: FFmpeg's name of the layout.
        rate: Sample rate.
        flags: Dispositions.
        metadata: Title, language ...
    """

    pieces: list[tuple[float, npt.NDArray[np.float32]]]
    codec: str = "pcm_s16le"
    layout: str = "mono"
    rate: int = RATE
    flags: Disposition = Disposition(0)  # noqa: RUF009 - immutable
    metadata: dict[str, str] = field(default_factory=dict)


def write_film(
    path: Path,
    *tracks: Track,
    picture_s: float = 0,
    container: str | None = None,
    options: dict[str, str] | None = None,
    picture_codec: str = "mpeg4",
    seekable: bool = True,
) -> Path:
    """Write tracks with their time stamps, and a picture of ``picture_s`` seconds.

    Without ``seekable``, the file is written as to a pipe, so that no length can be filled in.
    """
    options = options or {}
    pipe = _Pipe(path)
    target: Any = str(path) if seekable else pipe
    with av.open(target, "w", format=container, container_options=options) as out:
        packets: list[Packet[Any]] = []
        if picture_s:
            packets += _picture(out, picture_s, picture_codec)
        for track in tracks:
            packets += _sound(out, track)
        packets.sort(key=lambda packet: float((packet.dts or 0) * packet.time_base))
        for packet in packets:
            out.mux(packet)
    if not seekable:
        path.write_bytes(pipe.content)
    return path


class _Pipe:
    """A file that cannot be sought in."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def _picture(out: Any, seconds: float, codec: str) -> list[Any]:
    stream = out.add_stream(codec, rate=25)
    stream.width, stream.height, stream.pix_fmt = 176, 144, "yuv420p"
    stream.codec_context.max_b_frames = 0
    if codec == "libvpx":
        stream.options = {"deadline": "realtime", "cpu-used": "8"}
    packets = []
    for number in range(round(seconds * 25)):
        frame = av.VideoFrame.from_ndarray(
            np.full((144, 176, 3), number % 250, np.uint8), format="rgb24"
        )
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += stream.encode(frame)
    return [*packets, *stream.encode(None)]


def _sound(out: Any, track: Track) -> list[Any]:
    stream: AudioStream = out.add_stream(track.codec, rate=track.rate)
    stream.codec_context.layout = track.layout
    if track.codec == "wmav2":  # the only encoder here without a default
        stream.codec_context.bit_rate = 96000
    stream.disposition = track.flags
    stream.metadata.update(track.metadata)
    stream.codec_context.open()
    packets: list[Any] = []
    for at_s, sound in track.pieces:
        packets += _encoded(stream, track, at_s, sound)
    return packets


def _encoded(stream: AudioStream, track: Track, at_s: float, sound: Any) -> list[Any]:
    """Return the packets of a piece, from an encoder of its own, moved to its instant."""
    encoder: Any = av.CodecContext.create(track.codec, "w")
    encoder.rate, encoder.layout = track.rate, track.layout
    encoder.format = stream.codec_context.format
    if stream.codec_context.bit_rate:
        encoder.bit_rate = stream.codec_context.bit_rate
    encoder.time_base = Fraction(1, track.rate)
    encoder.open()
    resampler = av.AudioResampler(
        format=encoder.format,
        layout=track.layout,
        rate=track.rate,
        frame_size=encoder.frame_size or 1024,
    )
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(sound.T).reshape(1, -1), format="flt", layout=track.layout
    )
    frame.sample_rate, frame.time_base, frame.pts = track.rate, Fraction(1, track.rate), 0
    packets = []
    for ready in [*resampler.resample(frame), *resampler.resample(None), None]:
        packets += encoder.encode(ready)
    for packet in packets:
        move = round(at_s * track.rate)
        packet.time_base = Fraction(1, track.rate)
        packet.pts = (packet.pts or 0) + move
        packet.dts = packet.pts
        packet.stream = stream
    return packets
