"""The vendor's table of audio formats."""

from __future__ import annotations

import pytest

from orchestrator.domain.audio_formats import CODECS, check_audio, extension
from orchestrator.domain.spec import AudioConfig, AudioMode

BOTH = AudioMode.AUDIO_AND_BACKGROUND


@pytest.mark.parametrize("codec", CODECS)
def test_every_combination_of_the_table_is_allowed(codec: str) -> None:
    """Every listed combination of codec, rate and channels is allowed."""
    rule = CODECS[codec]
    for rate in rule.samplerates_hz:
        for channels in rule.channels:
            assert check_audio(BOTH, AudioConfig(codec, rate, 8, channels)) is None


def test_the_codec_may_be_written_in_capitals() -> None:
    """The vendor's Go example sends ``AAC``."""
    assert check_audio(BOTH, AudioConfig(codec="AAC")) is None
    assert extension("AAC") == "aac"


@pytest.mark.parametrize(
    ("audio", "words"),
    [
        (AudioConfig(codec="opus"), ["opus", "aac, mp3, flac, amr, wav"]),
        (AudioConfig(codec="aac", samplerate=8000), ["8000", "aac", "96000"]),
        (
            AudioConfig(codec="mp3", samplerate=96000),
            ["96000", "mp3", "11025, 22050, 32000, 44100 or 48000"],
        ),
        (AudioConfig(codec="flac", samplerate=12345), ["12345", "flac"]),
        (AudioConfig(codec="mp3", channels=6), ["6", "mp3", "1 or 2"]),
        (AudioConfig(codec="aac", channels=3), ["3", "aac"]),
        (AudioConfig(codec="amr", samplerate=8000, channels=2), ["2", "amr", "1"]),
        (AudioConfig(codec="amr"), ["amr", "8000", "44100"]),
        (AudioConfig(codec="aac", bitrate=7), ["7", "8", "1000"]),
        (AudioConfig(codec="aac", bitrate=1001), ["1001"]),
    ],
)
def test_a_refusal_names_the_wrong_value_and_the_allowed_ones(
    audio: AudioConfig, words: list[str]
) -> None:
    """The message is one sentence with both."""
    fault = check_audio(BOTH, audio)
    assert fault is not None
    assert all(word in fault for word in words), fault
    assert fault.endswith(".")


def test_music_mode_checks_only_the_codec() -> None:
    """MusicMode allows mp3, wav and aac, and ignores the rest of the configuration."""
    assert check_audio(AudioMode.MUSIC_MODE, AudioConfig("mp3", 12345, 1, 99)) is None
    fault = check_audio(AudioMode.MUSIC_MODE, AudioConfig(codec="flac"))
    assert fault is not None
    assert "mp3, wav or aac" in fault
