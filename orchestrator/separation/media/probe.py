"""Facts of a media file: the leaves of the vendor's MediaInfo, with units in their names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchestrator.separation.media.container import has_decoder, open_media

if TYPE_CHECKING:
    from pathlib import Path

    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

_BARE_STREAMS: Final = ("aac", "amr", "amrnb", "amrwb")
"""Containers (FFmpeg's names) without a length; FFmpeg only guesses it."""
_PLAIN_LAYOUTS: Final = {"1 channels": "mono", "2 channels": "stereo"}
"""Layouts of files that state a channel count only."""


@dataclass(frozen=True, slots=True)
class AudioStreamProbe:
    """One audio track; facts that the file does not state are None or empty."""

    index: int
    codec_name: str
    codec_long_name: str = ""
    codec_tag: str = ""
    codec_tag_string: str = ""
    sample_fmt: str = ""
    sample_rate_hz: int = 0
    channels: int = 0
    channel_layout: str = ""
    timebase: str = ""
    start_time_s: float | None = None
    duration_s: float | None = None
    bitrate_kbps: float | None = None
    language: str = ""


@dataclass(frozen=True, slots=True)
class VideoStreamProbe:
    """One video track (the cover picture of a music file counts as one)."""

    index: int
    codec_name: str
    width: int = 0
    height: int = 0
    fps: float | None = None
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class SubtitleStreamProbe:
    """One subtitle track."""

    index: int
    language: str = ""


@dataclass(frozen=True, slots=True)
class MediaProbe:
    """One media file, as the vendor's ``MediaInfo`` describes it.

    Attributes:
        format_name: Container, in FFmpeg's and the vendor's words: ``mp3``, ``flac``,
            ``mov,mp4,m4a,3gp,3g2,mj2``.
        format_long_name: The same for people.
        duration_s: Length; None if unknown.
        bitrate_kbps: Overall bitrate: file size divided by length.
        size_bytes: File size.
        start_time_s: Time stamp of the first sample (an mp3's encoder delay, for example).
        num_program: Programs (MPEG-TS); 0 for files that have none.
        num_stream: Tracks of all kinds.
        audio: Audio tracks, except those of unknown codecs.
        video: Video tracks, except those of unknown codecs.
        subtitles: Subtitle tracks.
    """

    format_name: str
    format_long_name: str
    duration_s: float | None
    bitrate_kbps: float | None
    size_bytes: int
    start_time_s: float | None
    num_program: int
    num_stream: int
    audio: tuple[AudioStreamProbe, ...] = field(default=())
    video: tuple[VideoStreamProbe, ...] = field(default=())
    subtitles: tuple[SubtitleStreamProbe, ...] = field(default=())


def probe_file(path: Path, known_duration_s: float | None = None) -> MediaProbe:
    """Read the facts of a media file.

    Args:
        path: The file.
        known_duration_s: Length found by decoding or encoding the file. It is used if the container
            states none (bare AAC and AMR streams: FFmpeg guesses from the bitrate of the first
            frames and can be far off).

    Raises:
        SeparationFailed: The file cannot be opened.
    """
    with open_media(path) as container:
        return probe_container(container, path.stat().st_size, known_duration_s)


def probe_container(
    container: InputContainer, size_bytes: int, known_duration_s: float | None = None
) -> MediaProbe:
    """Read the facts of an open container; see ``probe_file``."""
    # FFmpeg counts a container's length in microseconds.
    duration_s = _seconds(container.duration, 1 / 1_000_000)
    if known_duration_s is not None and (
        duration_s is None or container.format.name in _BARE_STREAMS
    ):
        duration_s = known_duration_s
    else:
        known_duration_s = None
    bitrate_kbps = size_bytes * 8 / duration_s / 1000 if duration_s else None
    streams = container.streams
    return MediaProbe(
        format_name=container.format.name,
        format_long_name=container.format.long_name,
        duration_s=duration_s,
        bitrate_kbps=bitrate_kbps,
        size_bytes=size_bytes,
        start_time_s=_seconds(container.start_time, 1 / 1_000_000),
        num_program=0,
        num_stream=len(streams),
        audio=tuple(
            _audio(stream, known_duration_s, bitrate_kbps if len(streams) == 1 else None)
            for stream in streams.audio
            if has_decoder(stream)
        ),
        video=tuple(_video(stream) for stream in streams.video if has_decoder(stream)),
        subtitles=tuple(
            SubtitleStreamProbe(stream.index, stream.language or "") for stream in streams.subtitles
        ),
    )


def probe_separated(container: InputContainer, size_bytes: int, duration_s: float) -> MediaProbe:
    """Read the facts of a container whose sound was separated; that success does not depend on it.

    Containers have fields that PyAV cannot read, for example texts of other encodings.
    """
    try:
        return probe_container(container, size_bytes, duration_s)
    except (ValueError, ArithmeticError, LookupError, AttributeError):
        name = container.format.name
        return MediaProbe(
            name, container.format.long_name, duration_s, None, size_bytes, None, 0, 0
        )


def _audio(
    stream: AudioStream, known_duration_s: float | None, overall_kbps: float | None
) -> AudioStreamProbe:
    """Return the facts of an audio track; ``overall_kbps`` is used if it states no bitrate."""
    codec, tag = stream.codec_context, _tag(stream)
    return AudioStreamProbe(
        index=stream.index,
        codec_name=codec.codec.canonical_name,
        codec_long_name=codec.codec.long_name,
        codec_tag=f"0x{int.from_bytes(tag, 'little'):04x}" if tag else "",
        codec_tag_string="".join(chr(byte) if 32 < byte < 127 else f"[{byte}]" for byte in tag),
        sample_fmt=getattr(codec.format, "name", ""),  # None without a known format
        sample_rate_hz=codec.sample_rate or 0,
        channels=codec.channels,
        channel_layout=_PLAIN_LAYOUTS.get(codec.layout.name, codec.layout.name),
        timebase=str(stream.time_base) if stream.time_base else "",
        start_time_s=_ticks(stream, stream.start_time),
        duration_s=known_duration_s
        if known_duration_s is not None
        else _ticks(stream, stream.duration),
        bitrate_kbps=codec.bit_rate / 1000 if codec.bit_rate else overall_kbps,
        language=stream.language or "",
    )


def _tag(stream: AudioStream) -> bytes:
    """Return the codec's four bytes in the container.

    PyAV decodes them as UTF-8, which fails for the numbers that avi, wave files and transport
    streams have there; such a tag counts as none.
    """
    try:
        return stream.codec_context.codec_tag.encode("latin-1", "replace")
    except UnicodeDecodeError:
        return b""


def _video(stream: VideoStream) -> VideoStreamProbe:
    codec = stream.codec_context
    fps = stream.average_rate
    return VideoStreamProbe(
        index=stream.index,
        codec_name=codec.codec.canonical_name,
        width=codec.width,
        height=codec.height,
        fps=float(fps) if fps else None,
        duration_s=_ticks(stream, stream.duration),
    )


def _ticks(stream: Stream, value: int | None) -> float | None:
    return _seconds(value, float(stream.time_base)) if stream.time_base else None


def _seconds(value: int | None, unit_s: float) -> float | None:
    return None if value is None else value * unit_s
