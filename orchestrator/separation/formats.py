"""The format of an output file: the audio configuration with every gap filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from orchestrator.domain.audio_formats import CODECS, DEFAULT_SAMPLERATE_HZ, extension

if TYPE_CHECKING:
    from orchestrator.domain.spec import AudioConfig

_KBPS_PER_CHANNEL: Final = {"aac": 80, "mp3": 96, "amr": 12}
"""Default bitrate of the lossy codecs, transparent to most ears. flac and wav have no bitrate."""


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """A complete audio configuration.

    Attributes:
        codec: ``aac``, ``mp3``, ``flac``, ``amr`` or ``wav``.
        samplerate_hz: Sample rate of the file.
        channels: Channel count of the file.
        bitrate_kbps: Requested bitrate, which the encoder clamps; 0 for lossless codecs.
    """

    codec: str
    samplerate_hz: int
    channels: int
    bitrate_kbps: int


def resolve(audio: AudioConfig, source_channels: int) -> OutputFormat:
    """Fill in the defaults: aac, 44100 Hz, and the source's channel count.

    If the codec does not have that channel count, the next smaller one is used. The configuration
    must have passed ``check_audio``.
    """
    codec = extension(audio.codec)
    allowed = CODECS[codec].channels
    channels = audio.channels or max((n for n in allowed if n <= source_channels), default=1)
    bitrate_kbps = 0
    if codec in _KBPS_PER_CHANNEL:
        bitrate_kbps = audio.bitrate or _KBPS_PER_CHANNEL[codec] * channels
    return OutputFormat(codec, audio.samplerate or DEFAULT_SAMPLERATE_HZ, channels, bitrate_kbps)
