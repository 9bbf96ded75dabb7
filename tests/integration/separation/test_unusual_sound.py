"""Unusual sound is separated, and the result says what was done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
from orchestrator.separation.separate import SeparationResult, SeparationTask, separate_file
from tests.integration.separation.conftest import decode, tones
from tests.repository import REPOSITORY
from tests.sound_files import Track, write_film

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("engine_file")]

FIELD = REPOSITORY / "tests/media/field"
FLOATS = [("wav", "pcm_f32le"), ("wav", "pcm_f64le"), ("mkv", "pcm_f32le"), ("au", "pcm_f32be")]


def separated(source: Path, folder: Path, channels: int | None = None) -> SeparationResult:
    outputs = {stem: folder / f"{stem}.flac" for stem in (Stem.VOICE, Stem.BACKGROUND)}
    audio = AudioConfig(codec="flac", channels=channels)
    task = SeparationTask(source, outputs, AudioMode.AUDIO_AND_BACKGROUND, audio)
    return separate_file(task, threads=2)


def stems(folder: Path) -> tuple[Block, Block]:
    return decode(folder / "voice.flac"), decode(folder / "background.flac")


@pytest.mark.parametrize(
    "name",
    [
        "8k-10-samples.wav",
        "9ch.wav",
        "aac-and-apac.mov",
        "aac-in.avi",
        "aac8k-itunsmpb2112.m4a",
        "ambisonic.webm",
        "dts-tag-82.ts",
        "float-plus6dB.wav",
        "gap-3s.mkv",
        "gap-3s.mp4",
        "inverted.flac",
        "one-nan.wav",
        "starts-at-2s.mp4",
        "whole-vbr-ape-cover.mp3",
    ],
)
def test_every_field_file_that_is_whole_is_separated(name: str, tmp_path: Path) -> None:
    """From the first byte to the stems, which are as long as the time line."""
    result = separated(FIELD / name, tmp_path)
    voice, background = stems(tmp_path)
    assert len(voice) == len(background) == round(result.media_duration_s * 44100)


@pytest.mark.parametrize(("ext", "codec"), FLOATS)
@pytest.mark.parametrize("peak", [1.12, 2.0, 8.0])
def test_floats_beyond_full_scale_lower_both_stems_by_one_factor(
    ext: str, codec: str, peak: float, tmp_path: Path
) -> None:
    """The stems add up to the input times the factor, and neither is clipped."""
    sound = tones(2)
    sound *= np.float32(peak / np.abs(sound).max())
    track = Track([(0, sound.T)], codec, layout="stereo")
    result = separated(write_film(tmp_path / f"loud.{ext}", track), tmp_path)
    voice, background = stems(tmp_path)
    assert np.abs(voice + background - sound / peak).max() <= 2 / 32768
    assert max(np.abs(voice).max(), np.abs(background).max()) <= 1
    (note,) = result.notes
    assert f"exceeds full scale by {20 * np.log10(peak):.1f} dB" in note


def test_a_lossy_codec_beyond_full_scale_is_lowered_too(tmp_path: Path) -> None:
    """Music that was mastered to full scale exceeds it when it is decoded."""
    sound = np.sign(tones(2)).astype(np.float32) * np.float32(0.99)
    track = Track([(0, sound.T)], "aac", layout="stereo")
    result = separated(write_film(tmp_path / "loud.m4a", track, container="ipod"), tmp_path)
    voice, background = stems(tmp_path)
    assert np.abs(voice + background).max() <= 1
    assert "exceeds full scale" in " ".join(result.notes)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rate", [44100, 48000])
def test_a_sample_without_a_value_is_0_and_nothing_else_changes(
    bad: float, rate: int, tmp_path: Path
) -> None:
    """One NaN is one sample, not ten seconds of noise."""
    sound = tones(2)
    sound[20_000, 0] = 0
    track = Track([(0, sound.T)], "pcm_f32le", layout="stereo", rate=rate)
    clean = write_film(tmp_path / "clean.wav", track)
    separated(clean, tmp_path)
    expected = stems(tmp_path)
    sound[20_000, 0] = bad
    content = clean.read_bytes()
    head = content[: content.index(b"data") + 8]
    (tmp_path / "dirty.wav").write_bytes(head + sound.astype("<f4").tobytes())
    result = separated(tmp_path / "dirty.wav", tmp_path)
    for found, wanted in zip(stems(tmp_path), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert result.notes == (
        "1 sample of the input had no valid value (NaN or infinite) and became 0.",
    )


def test_channels_that_cancel_out_in_mono_are_noted(tmp_path: Path) -> None:
    """The stems are silent, and the result says why and what to do."""
    result = separated(FIELD / "inverted.flac", tmp_path, channels=1)
    assert np.abs(stems(tmp_path)[0]).max() < 1e-3
    assert "cancel each other out" in " ".join(result.notes)
    assert separated(FIELD / "inverted.flac", tmp_path, channels=2).notes == ()


def test_a_sample_without_a_value_and_a_level_above_full_scale_are_noted(tmp_path: Path) -> None:
    """The files as users had them: one NaN, and floats 6 dB above full scale."""
    assert "1 sample of the input had no valid value" in " ".join(
        separated(FIELD / "one-nan.wav", tmp_path).notes
    )
    assert np.abs(stems(tmp_path)[0]).max() < 0.999
    assert "multiplied by 0.5" in " ".join(separated(FIELD / "float-plus6dB.wav", tmp_path).notes)


def test_usual_sound_has_no_notes(tmp_path: Path) -> None:
    """A message means that there is something to know."""
    source = write_film(tmp_path / "in.wav", Track([(0, tones(1).T)], layout="stereo"))
    assert separated(source, tmp_path).notes == ()
    assert separated(source, tmp_path, channels=1).notes == ()
