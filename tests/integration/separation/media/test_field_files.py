"""Files from the field, of which each once went wrong: the result that each must have."""

from __future__ import annotations

import pytest

from tests.integration.separation.media.listen import hear, refusal
from tests.repository import REPOSITORY

FIELD = REPOSITORY / "tests/media/field"


@pytest.mark.parametrize("ext", ["mp4", "mkv"])
def test_a_hole_of_three_seconds_becomes_silence(ext: str) -> None:
    """A screen recording paused from second 2 to second 5; the sound stays with the picture."""
    heard = hear(FIELD / f"gap-3s.{ext}")
    assert heard.length_s == pytest.approx(7.0, abs=0.05)
    (first, second) = [part for part in heard.parts() if part[1] - part[0] > 1]
    shift = 0.023 if ext == "mkv" else 0  # its picture starts 23 ms late as well
    assert first == pytest.approx((shift, 2 + shift), abs=0.01 + 0.02)
    assert second == pytest.approx((5 + shift, 7 + shift), abs=0.01 + 0.02)
    assert "1 hole in the time stamps (3.00 s in all) became silence." in heard.notes


def test_sound_that_starts_late_gets_leading_silence() -> None:
    """The picture starts at 0, the sound at second 2."""
    heard = hear(FIELD / "starts-at-2s.mp4")
    assert heard.length_s == pytest.approx(6.0, abs=0.01)
    assert heard.parts()[0][0] == pytest.approx(2.0, abs=0.03)
    assert "starts late" in heard.notes


def test_the_track_that_can_be_decoded_is_chosen() -> None:
    """A phone's film has a second track, of a codec that nothing decodes."""
    heard = hear(FIELD / "aac-and-apac.mov")
    assert heard.length_s == pytest.approx(3.0, abs=0.01)
    assert "Of 2 audio tracks, track 1 was separated: aac" in heard.notes
    assert "track 2 cannot be decoded" in heard.notes


def test_ambisonic_sound_is_mixed_down() -> None:
    """Four channels of first order."""
    heard = hear(FIELD / "ambisonic.webm")
    assert heard.length_s == pytest.approx(2.0, abs=0.01)
    assert heard.channels == 1
    assert abs(heard.sound).max() > 0.05
    assert "ambisonic" in heard.notes


def test_nine_channels_are_mixed_down() -> None:
    """A wave file of nine channels without names."""
    heard = hear(FIELD / "9ch.wav")
    assert len(heard.sound) == 2000
    assert abs(heard.sound).max() > 0.1
    assert "9 channels" in heard.notes


@pytest.mark.parametrize(("name", "length_s"), [("dts-tag-82.ts", 0.511), ("aac-in.avi", 0.534)])
def test_a_codec_tag_beyond_ascii_does_not_matter(name: str, length_s: float) -> None:
    """DTS in a transport stream, AAC in avi."""
    assert hear(FIELD / name).length_s == pytest.approx(length_s, abs=0.002)


def test_a_whole_mp3_with_a_cover_behind_it_is_whole() -> None:
    """The APE tag behind the sound is not sound, and an estimate of the length is not a header."""
    heard = hear(FIELD / "whole-vbr-ape-cover.mp3")
    assert heard.length_s == pytest.approx(4.0, abs=0.03)
    assert heard.notes == ""


def test_an_mp3_behind_two_tags_that_was_cut_off_is_refused() -> None:
    """The Xing header stands behind both tags."""
    message = refusal(FIELD / "two-id3-xing-cut40.mp3")
    assert "cut off: its header states 4.0 s of sound, but only 1.5 s are present" in message


def test_encoder_priming_is_not_a_missing_end() -> None:
    """The 2112 samples at the beginning are dropped, not missed and not silence."""
    heard = hear(FIELD / "aac8k-itunsmpb2112.m4a")
    assert heard.length_s == pytest.approx(3.96, abs=0.01)
    assert heard.parts()[0][0] == pytest.approx(0, abs=0.03)


def test_a_webm_that_was_cut_off_is_refused() -> None:
    """Its header states the length."""
    message = refusal(FIELD / "cut50.webm")
    assert "cut off: its header states 4.0 s" in message


def test_an_ogg_with_lost_pages_is_damaged() -> None:
    """Two of ten pages are gone, although the last one states the whole length."""
    assert "damaged: 2 of 10 Ogg pages" in refusal(FIELD / "hole10pct.ogg")


def test_a_chained_ogg_is_read_to_its_end() -> None:
    """8 s of 44.1 kHz stereo, then 3 s of 22.05 kHz mono."""
    heard = hear(FIELD / "ogg-chained-44k-stereo+22k-mono.ogg")
    assert heard.length_s == pytest.approx(11.0, abs=0.01)
    assert abs(heard.sound[9 * 44100 :]).max() > 0.05
    assert "2 joined files" in heard.notes


def test_ten_samples_at_another_rate_are_a_sound() -> None:
    """10 samples at 8 kHz are 55 at 44.1 kHz."""
    heard = hear(FIELD / "8k-10-samples.wav")
    assert len(heard.sound) == 55
    assert abs(heard.sound).max() > 0.1
