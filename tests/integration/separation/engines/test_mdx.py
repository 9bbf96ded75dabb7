"""MDX-Net files: small ones of the same shapes, whose voice is known."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from orchestrator.domain.engines import EngineChoice
from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.loading import load_model
from orchestrator.separation.engines.mdx import HOP
from orchestrator.separation.separate import SeparationTask, separate_file
from tests.mdx_models import CHUNK, IDENTITY, LEFT_ONLY, N_FFT, TURNED, write_model
from tests.whole_stems import whole_stems

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block
    from tests.integration.separation.conftest import Media


def voice_of(model: Path, sound: Block, block: int = 9216) -> Block:
    return whole_stems(load_model(model, 1), sound, block)[Stem.VOICE]


def noise(length: int) -> Block:
    return np.random.default_rng(length).uniform(-0.4, 0.4, (length, 2)).astype(np.float32)


@pytest.mark.parametrize("length", [1, 100, N_FFT, CHUNK - N_FFT, CHUNK, CHUNK + 1, 100_000])
@pytest.mark.parametrize("block", [5000, 1 << 20])
def test_an_identity_gives_the_sound_itself_at_any_length(
    length: int, block: int, tmp_path: Path
) -> None:
    """Chunks, margins, seams and the inverse leave no trace, and no sample is lost."""
    sound = noise(length)
    np.testing.assert_allclose(voice_of(write_model(tmp_path), sound, block), sound, atol=2e-6)


def test_an_empty_stream_has_an_empty_voice(tmp_path: Path) -> None:
    assert list(load_model(write_model(tmp_path), 1).separate([])) == []


def test_the_memory_does_not_grow_with_the_sound(tmp_path: Path) -> None:
    """The engine takes no more than a few chunks before it gives the voice of the first."""
    taken = 0

    def endless() -> Iterator[Block]:
        nonlocal taken
        while True:
            taken += HOP
            yield np.zeros((HOP, 2), np.float32)

    with closing(load_model(write_model(tmp_path), 1).separate(endless())) as several:
        given = 0
        for _ in range(20):
            given += len(next(several)[Stem.VOICE])
            assert taken - given <= 5 * CHUNK


def test_the_parts_are_the_real_and_the_imaginary_one_of_each_channel(tmp_path: Path) -> None:
    """A turned tone tells the real from the imaginary part, a dropped one left from right."""
    phase = 2 * np.pi * 441 * np.arange(60_000) / 44100
    tone = np.stack([0.3 * np.cos(phase), 0.2 * np.sin(phase)], axis=1).astype(np.float32)
    middle = slice(5000, 55_000)  # the ends of a tone are not a tone
    turned = np.stack([-0.3 * np.sin(phase), 0.2 * np.cos(phase)], axis=1)
    made = voice_of(write_model(tmp_path, TURNED), tone)
    np.testing.assert_allclose(made[middle], turned[middle], atol=1e-3)
    left = voice_of(write_model(tmp_path, LEFT_ONLY), tone)
    np.testing.assert_allclose(left[:, 0], tone[:, 0], atol=2e-6)
    np.testing.assert_allclose(left[:, 1], 0, atol=1e-7)


def test_the_level_is_compensated(tmp_path: Path) -> None:
    sound = noise(50_000)
    made = voice_of(write_model(tmp_path, IDENTITY / 4, compensate=2), sound)
    np.testing.assert_allclose(made, sound / 2, atol=2e-6)


def test_a_file_for_the_background_gives_the_voice_as_the_rest(tmp_path: Path) -> None:
    sound = noise(50_000)
    made = voice_of(write_model(tmp_path, IDENTITY / 4, primary_stem="Instrumental"), sound)
    np.testing.assert_allclose(made, sound * 0.75, atol=2e-6)


def test_bins_that_the_file_lacks_are_background(tmp_path: Path) -> None:
    """A tone above the bins of the file is not voice, one below them is."""
    time_s = np.arange(60_000) / 44100
    for tone_hz, expected in ((1000, 1.0), (15_000, 0.0)):
        tone = np.repeat(0.3 * np.sin(2 * np.pi * tone_hz * time_s)[:, np.newaxis], 2, axis=1)
        made = voice_of(write_model(tmp_path, bins=512), tone.astype(np.float32))
        middle = slice(5000, 55_000)
        np.testing.assert_allclose(made[middle], expected * tone[middle], atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mdx_n_fft_scale_set": 0}, "mdx_n_fft_scale_set is 0; it must be an even number"),
        ({"mdx_n_fft_scale_set": 4097}, "mdx_n_fft_scale_set is 4097"),
        ({"mdx_n_fft_scale_set": True}, "mdx_n_fft_scale_set is True"),
        ({"mdx_n_fft_scale_set": 2048}, r"1537 bins, and frames of 2048 samples have at most 1025"),
        ({"mdx_n_fft_scale_set": 16384}, "too few for frames of 16384"),
        ({"compensate": "1"}, "compensate is '1'; it must be a number from 0.1 to 10"),
        ({"primary_stem": "Drums"}, "primary_stem is 'Drums'; it must be Vocals or Instrumental"),
        ({"primary_stem": ["Vocals"]}, "primary_stem is"),
    ],
)
def test_settings_that_are_not_valid_are_refused(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(EngineMissing, match=words):
        load_model(write_model(tmp_path, **settings), 1)


def test_files_that_are_missing_or_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineMissing, match=r"absent\.onnx does not exist"):
        load_model(tmp_path / "absent.onnx", 1)
    model = write_model(tmp_path)
    sidecar = model.with_suffix(".json")
    for text, words in (("[]", "not a JSON object"), ("{", "cannot be read as JSON")):
        sidecar.write_text(text)
        with pytest.raises(EngineMissing, match=words):
            load_model(model, 1)
    sidecar.unlink()
    with pytest.raises(EngineMissing, match=r"needs a file small\.json beside it.*7680"):
        load_model(model, 1)
    with pytest.raises(
        EngineMissing,
        match=r"leaves the size of its input open \(inputs: input \[\?, 4, 1537, \?\]",
    ):
        load_model(write_model(tmp_path, frames="frames"), 1)
    with pytest.raises(EngineMissing, match=r"neither an MDX-Net file.*input \[\?, 2, 1537, 32\]"):
        load_model(write_model(tmp_path, parts=2), 1)
    model.write_bytes(b"not a network")
    with pytest.raises(EngineMissing, match="damaged, or not a network in the ONNX format"):
        load_model(model, 1)


def test_a_file_is_separated_with_the_engine_that_the_task_names(
    media: Media, tmp_path: Path
) -> None:
    """The stems come from that engine, without the default one's weights, and add up."""
    source = media.encode(tmp_path / "in.wav", media.tones(2))
    outputs = {stem: tmp_path / f"{stem}.wav" for stem in (Stem.VOICE, Stem.BACKGROUND)}
    model = write_model(tmp_path, IDENTITY / 4)
    task = SeparationTask(
        source,
        outputs,
        AudioMode.AUDIO_AND_BACKGROUND,
        AudioConfig(codec="wav"),
        EngineChoice(model),
    )
    result = separate_file(task, threads=1)
    sound, voice, background = (media.decode(path) for path in (source, *outputs.values()))
    np.testing.assert_allclose(voice, sound / 4, atol=1e-4)
    np.testing.assert_allclose(voice + background, sound, atol=1e-4)
    assert "f32" in result.engine
