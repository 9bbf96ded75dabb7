"""The format of an output file."""

from __future__ import annotations

import pytest

from orchestrator.domain.audio_formats import extension
from orchestrator.domain.spec import AudioConfig
from orchestrator.separation.formats import OutputFormat, resolve


def test_the_default_is_aac() -> None:
    """An empty configuration means aac at 44.1 kHz with the source's channels."""
    assert resolve(AudioConfig(), 2) == OutputFormat("aac", 44100, 2, 160)
    assert extension(None) == "aac"


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
def test_the_default_channel_count_is_the_sources_or_the_next_smaller_of_the_codec(
    codec: str, source: int, made: int
) -> None:
    """A codec without the source's channel count gets a smaller one, never zero."""
    assert resolve(AudioConfig(codec, 8000 if codec == "amr" else None), source).channels == made


def test_lossless_codecs_have_no_bitrate() -> None:
    """A bitrate is ignored for flac and wav."""
    assert resolve(AudioConfig("flac", bitrate=320), 2).bitrate_kbps == 0
    assert resolve(AudioConfig("mp3", bitrate=320), 2).bitrate_kbps == 320
