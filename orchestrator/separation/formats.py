"""Which codec goes with which sample rate, channel count and bitrate: the vendor's table, and what stands in for what is left out.

The table is that of the vendor's VoiceSeparate template page. It says nothing about ``wav`` beyond its name, so there every
listed rate and channel count is allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.domain.spec import AudioConfig, AudioMode

SAMPLERATES_HZ: Final = (8000, 11025, 22050, 32000, 44100, 48000, 96000)
BITRATE_RANGE_KBPS: Final = (8, 1000)
DEFAULT_CODEC: Final = "aac"
DEFAULT_SAMPLERATE_HZ: Final = 44100
_CHANNELS: Final = (1, 2, 4, 5, 6, 8)
_MUSIC_CODECS: Final = ("mp3", "wav", "aac")


@dataclass(frozen=True, slots=True)
class CodecRule:
    """What one codec allows.

    Attributes:
        samplerates_hz: Allowed rates.
        channels: Allowed channel counts, ascending.
        kbps_per_channel: Bitrate per channel when none is asked for; transparent for most ears. 0: the codec has none.
    """

    samplerates_hz: tuple[int, ...]
    channels: tuple[int, ...]
    kbps_per_channel: int = 0


RULES: Final[dict[str, CodecRule]] = {
    "aac": CodecRule(SAMPLERATES_HZ[1:], _CHANNELS, 80),
    "mp3": CodecRule(SAMPLERATES_HZ[1:-1], (1, 2), 96),
    "flac": CodecRule(SAMPLERATES_HZ[1:], _CHANNELS),
    "amr": CodecRule((8000,), (1,), 12),
    "wav": CodecRule(SAMPLERATES_HZ, _CHANNELS),
}


@dataclass(frozen=True, slots=True)
class OutputFormat:
    """An audio configuration with nothing left open.

    Attributes:
        codec: ``aac``, ``mp3``, ``flac``, ``amr`` or ``wav``.
        samplerate_hz: Rate of the file.
        channels: Channel count of the file.
        bitrate_kbps: A request, which the encoder clamps to what it can do; 0 for codecs that have none.
    """

    codec: str
    samplerate_hz: int
    channels: int
    bitrate_kbps: int


def codec_of(audio: AudioConfig) -> str:
    """The codec, in lower case (the vendor's own examples use both cases); ``aac`` if none is named."""
    return (audio.codec or DEFAULT_CODEC).lower()


def extension(audio: AudioConfig) -> str:
    """What ``${ext}`` stands for: the codec's own name, without a dot."""
    return codec_of(audio)


def check_audio(mode: AudioMode | None, audio: AudioConfig) -> str | None:
    """Say in one sentence why the vendor would refuse this combination, or None if it is allowed.

    Music mode ignores rate, bitrate and channels (the vendor's page says so), so only its codec is looked at.
    """
    codec = codec_of(audio)
    if codec not in RULES:
        return f"Codec {audio.codec} is not known; use one of {', '.join(RULES)}."
    if mode is AudioMode.MUSIC_MODE:
        return (
            None
            if codec in _MUSIC_CODECS
            else f"Codec {codec} is not allowed in MusicMode; use {_either(_MUSIC_CODECS)}."
        )
    return _rate_fault(codec, audio) or _channel_fault(codec, audio) or _bitrate_fault(audio)


def resolve(audio: AudioConfig, source_channels: int) -> OutputFormat:
    """Fill in what was left out: aac, 44100 Hz, the source's channel count (or the next smaller that the codec has).

    The configuration must have passed ``check_audio``.
    """
    codec = codec_of(audio)
    rule = RULES[codec]
    channels = audio.channels or max(
        (n for n in rule.channels if n <= source_channels), default=rule.channels[0]
    )
    bitrate_kbps = (
        0 if not rule.kbps_per_channel else audio.bitrate or rule.kbps_per_channel * channels
    )
    return OutputFormat(codec, audio.samplerate or DEFAULT_SAMPLERATE_HZ, channels, bitrate_kbps)


def _rate_fault(codec: str, audio: AudioConfig) -> str | None:
    allowed = RULES[codec].samplerates_hz
    if audio.samplerate is None and DEFAULT_SAMPLERATE_HZ not in allowed:
        return f"Codec {codec} needs Samplerate {_either(allowed)}; without one the rate is {DEFAULT_SAMPLERATE_HZ}, which it does not allow."
    if audio.samplerate is not None and audio.samplerate not in allowed:
        return f"Samplerate {audio.samplerate} is not allowed with codec {codec}; use {_either(allowed)}."
    return None


def _channel_fault(codec: str, audio: AudioConfig) -> str | None:
    allowed = RULES[codec].channels
    if audio.channels is None or audio.channels in allowed:
        return None
    return f"Channels {audio.channels} is not allowed with codec {codec}; use {_either(allowed)}."


def _bitrate_fault(audio: AudioConfig) -> str | None:
    low, high = BITRATE_RANGE_KBPS
    if audio.bitrate is None or low <= audio.bitrate <= high:
        return None
    return f"Bitrate {audio.bitrate} is out of range; it is a number from {low} to {high} (kbit/s)."


def _either(values: tuple[object, ...]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
