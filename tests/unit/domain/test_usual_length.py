"""Expected length of media, and names that fit one line."""

from __future__ import annotations

import pytest

from orchestrator.domain.spec import MediaObject
from orchestrator.domain.usual_length import suffix_of
from orchestrator.domain.wording import one_line


@pytest.mark.parametrize(
    ("key", "size_bytes", "duration_s", "expected_s"),
    [
        ("a.mp3", 24_000, None, 1.0),
        ("a.WAV", 176_400, None, 1.0),
        ("a.mp3", 24_000, 7.0, 7.0),
        ("no suffix", 24_000, None, 1.0),
        ("in.wav/no suffix", 24_000, None, 1.0),
        ("in.wav/a.amr", 1_600, None, 1.0),
        ("a.mp3", None, None, None),
        ("a.mp3", 0, None, 0.0),
    ],
)
def test_a_length_is_given_or_expected_from_the_size(
    key: str, size_bytes: int | None, duration_s: float | None, expected_s: float | None
) -> None:
    media = MediaObject("b-1250000000", "ap-chongqing", key, "", size_bytes, duration_s)

    assert media.expected_s == expected_s


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.MP3", "mp3"), ("v1.2/song", ""), ("x/.hidden", "hidden"), ("a.b.wav", "wav"), ("a.", "")],
)
def test_a_suffix_is_of_the_last_part_of_a_name(name: str, suffix: str) -> None:
    assert suffix_of(name) == suffix


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("in/歌.mp3", "in/歌.mp3"),
        ("wide\u3000space", "wide\u3000space"),
        ("a\nb\x1b[2J", r"a\nb\x1b[2J"),
        ("right\u202eleft", r"right\u202eleft"),
        ("raw\udc80", r"raw\udc80"),
        ("family \U0001f468\u200d\U0001f467.mp3", "family \U0001f468\u200d\U0001f467.mp3"),
    ],
)
def test_a_name_cannot_move_the_cursor(name: str, shown: str) -> None:
    assert one_line(name) == shown
