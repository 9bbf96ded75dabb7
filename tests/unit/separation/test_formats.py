"""The vendor's table of audio configurations."""

from __future__ import annotations

import pytest

from orchestrator.domain.spec import AudioConfig, AudioMode
from orchestrator.separation.formats import RULES, OutputFormat, check_audio, extension, resolve

BOTH = AudioMode.AUDIO_AND_BACKGROUND


@pytest.mark.parametrize("codec", RULES)
def test_what_the_table_lists_is_allowed(codec: str) -> None:
    """Every listed combination of codec, rate and channels is allowed."""
    rule = RULES[codec]
    for rate in rule.samplerates_hz:
        for channels in rule.channels:
            assert check_audio(BOTH, AudioConfig(codec, rate, 8, channels)) is None


def test_the_codec_may_be_written_in_capitals() -> None:
    """The vendor's Go example sends ``AAC``."""
    assert check_audio(BOTH, AudioConfig(codec="AAC")) is None
    assert extension(AudioConfig(codec="AAC")) == "aac"


def test_the_default_is_aac() -> None:
    """An empty configuration means aac at 44.1 kHz with the source's channels."""
    assert resolve(AudioConfig(), 2) == OutputFormat("aac", 44100, 2, 160)
    assert extension(AudioConfig()) == "aac"


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
def test_what_the_vendor_refuses_gets_a_sentence_with_the_value_and_what_is_allowed(
    audio: AudioConfig, words: list[str]
) -> None:
    """The sentence names the wrong value and the right ones."""
    fault = check_audio(BOTH, audio)
    assert fault is not None
    assert all(word in fault for word in words), fault
    assert fault.endswith(".")


def test_music_mode_looks_at_the_codec_only() -> None:
    """Music mode takes mp3, wav and aac, and ignores the rest of the configuration."""
    assert check_audio(AudioMode.MUSIC_MODE, AudioConfig("mp3", 12345, 1, 99)) is None
    fault = check_audio(AudioMode.MUSIC_MODE, AudioConfig(codec="flac"))
    assert fault is not None
    assert "mp3, wav or aac" in fault


@pytest.mark.parametrize(
    ("codec", "source", "made"),
    [
        ("aac", 1, 1),
        ("aac", 3, 2),
        ("aac", 7, 6),
        ("mp3", 6, 2),
        ("flac", 12, 8),
        ("amr", 2, 1),
        ("wav", 5, 5),
    ],
)
def test_channels_left_out_are_the_sources_or_the_next_fewer_that_the_codec_has(
    codec: str, source: int, made: int
) -> None:
    """A codec that cannot hold the source's channels gets fewer, never none."""
    assert resolve(AudioConfig(codec, 8000 if codec == "amr" else None), source).channels == made


def test_lossless_codecs_have_no_bitrate() -> None:
    """A bitrate asked for with flac or wav is passed over."""
    assert resolve(AudioConfig("flac", bitrate=320), 2).bitrate_kbps == 0
    assert resolve(AudioConfig("mp3", bitrate=320), 2).bitrate_kbps == 320
