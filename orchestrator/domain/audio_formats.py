"""The vendor's audio formats: sample rates, channel counts and bitrates of each codec.

Source: the vendor's page "Create voice-separation template". The page states no limits for wav, so
wav takes every listed rate and channel count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from orchestrator.domain.spec import AudioMode
from orchestrator.domain.wording import listed

if TYPE_CHECKING:
    from orchestrator.domain.spec import AudioConfig

Codec = Literal["aac", "mp3", "flac", "amr", "wav"]

SAMPLERATES_HZ: Final = (8000, 11025, 22050, 32000, 44100, 48000, 96000)
CHANNEL_COUNTS: Final = (1, 2, 4, 5, 6, 8)
MIN_BITRATE_KBPS, MAX_BITRATE_KBPS = 8, 1000
DEFAULT_CODEC: Final = "aac"
DEFAULT_SAMPLERATE_HZ: Final = 44100
MUSIC_CODECS: Final = ("mp3", "wav", "aac")
"""Codecs of MusicMode."""


@dataclass(frozen=True, slots=True)
class CodecRule:
    """Sample rates and channel counts of one codec, both ascending."""

    samplerates_hz: tuple[int, ...]
    channels: tuple[int, ...]


CODECS: Final[dict[str, CodecRule]] = {
    "aac": CodecRule(SAMPLERATES_HZ[1:], CHANNEL_COUNTS),
    "mp3": CodecRule(SAMPLERATES_HZ[1:-1], (1, 2)),
    "flac": CodecRule(SAMPLERATES_HZ[1:], CHANNEL_COUNTS),
    "amr": CodecRule((8000,), (1,)),
    "wav": CodecRule(SAMPLERATES_HZ, CHANNEL_COUNTS),
}


def extension(codec: str | None) -> str:
    """Return the value of ``${ext}``: the codec in lower case, ``aac`` if none is named.

    The vendor's own examples write codecs in lower and in upper case.
    """
    return (codec or DEFAULT_CODEC).lower()


_BY_EXTENSION: Final[dict[str, Codec]] = {
    "aac": "aac",
    "m4a": "aac",
    "mp3": "mp3",
    "flac": "flac",
    "amr": "amr",
    "wav": "wav",
    "wave": "wav",
}
OTHER_EXTENSIONS: Final = frozenset(
    ["ac3", "aif", "aiff", "alac", "ape", "avi", "caf", "dsf", "eac3", "flv", "m4b", "m4v", "mka",
     "mkv", "mov", "mp2", "mp4", "mpc", "oga", "ogg", "opus", "ra", "spx", "tak", "tta", "w64",
     "webm", "wma", "wv"]
)  # fmt: skip
"""Extensions of media that the service does not make."""


def codec_of_extension(ending: str) -> Codec | None:
    """Return the codec whose files have this extension, in any case; None if there is none."""
    return _BY_EXTENSION.get(ending.lower())


def is_false_extension(name: str, codec: str) -> bool:
    """Return True if a name ends with the extension of another format than the codec."""
    ending = name.rpartition("/")[2].rpartition(".")[2].lower()
    meant = _BY_EXTENSION.get(ending)
    return meant != codec if meant is not None else ending in OTHER_EXTENSIONS


def check_audio(mode: AudioMode | None, audio: AudioConfig) -> str | None:
    """Return the service's reason to refuse an audio configuration, or None if it is allowed.

    MusicMode ignores rate, bitrate and channels (the vendor's page says so): only the codec counts.
    """
    codec = extension(audio.codec)
    if codec not in CODECS:
        return f"Codec {audio.codec} is not known; use one of {', '.join(CODECS)}."
    if mode is AudioMode.MUSIC_MODE:
        if codec in MUSIC_CODECS:
            return None
        return f"Codec {codec} is not allowed in MusicMode; use {listed(MUSIC_CODECS)}."
    rates, channels = CODECS[codec].samplerates_hz, CODECS[codec].channels
    if audio.samplerate is None and DEFAULT_SAMPLERATE_HZ not in rates:
        return (
            f"Codec {codec} needs Samplerate {listed(rates)}; without one the rate is "
            f"{DEFAULT_SAMPLERATE_HZ}, which it does not allow."
        )
    if audio.samplerate is not None and audio.samplerate not in rates:
        return (
            f"Samplerate {audio.samplerate} is not allowed with codec {codec}; use {listed(rates)}."
        )
    if audio.channels is not None and audio.channels not in channels:
        return (
            f"Channels {audio.channels} is not allowed with codec {codec}; use {listed(channels)}."
        )
    if audio.bitrate is not None and not MIN_BITRATE_KBPS <= audio.bitrate <= MAX_BITRATE_KBPS:
        return (
            f"Bitrate {audio.bitrate} is out of range; it is a number from {MIN_BITRATE_KBPS} "
            f"to {MAX_BITRATE_KBPS} (kbit/s)."
        )
    return None
