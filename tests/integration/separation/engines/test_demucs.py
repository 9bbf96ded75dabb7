"""Demucs files: small ones of the same shapes, whose stems are known."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto

from orchestrator.domain.engines import EngineChoice
from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.demucs import DemucsTransform
from orchestrator.separation.engines.loading import load_model, recognise
from orchestrator.separation.errors import SeparationFailed
from orchestrator.separation.separate import SeparationTask, separate_file
from tests.demucs_models import (
    BANDS_HZ,
    BINS,
    FRAMES,
    HOP,
    N_FFT,
    SAMPLES,
    SHARES,
    SWAP,
    write_graph,
    write_shares,
    write_split,
)
from tests.mdx_models import write_model
from tests.whole_stems import whole_stems

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block
    from tests.integration.separation.conftest import Media

PARTS = (Stem.VOICE, Stem.BASS, Stem.DRUMS)
STEP = SAMPLES - SAMPLES // 4


def noise(length: int) -> Block:
    return np.random.default_rng(length).uniform(-0.4, 0.4, (length, 2)).astype(np.float32)


@pytest.mark.parametrize("length", [1, 100, STEP, SAMPLES - 1, SAMPLES, SAMPLES + 1, 100_000])
@pytest.mark.parametrize("block", [5000, 1 << 20])
def test_stems_are_exact_at_any_length(length: int, block: int, tmp_path: Path) -> None:
    """Chunks and seams leave no trace, no sample is lost, and each stem has its name."""
    engine = load_model(write_shares(tmp_path / "a.onnx"), 1)
    sound = noise(length)
    stems = whole_stems(engine, sound, block, PARTS)
    for stem, share in zip(
        (Stem.DRUMS, Stem.BASS, Stem.BACKGROUND, Stem.VOICE), SHARES, strict=True
    ):
        np.testing.assert_allclose(stems[stem], share * sound, atol=2e-6)


def test_an_empty_stream_has_no_stems(tmp_path: Path) -> None:
    assert list(load_model(write_shares(tmp_path / "a.onnx"), 1).separate([])) == []


def test_left_stays_left(tmp_path: Path) -> None:
    """A file that exchanges the channels shows which one is which."""
    engine = load_model(write_shares(tmp_path / "a.onnx", channels=SWAP), 1)
    sound = noise(40_000)
    sound[:, 1] = 0
    voice = whole_stems(engine, sound, parts=PARTS)[Stem.VOICE]
    np.testing.assert_allclose(voice[:, 1], 0.4 * sound[:, 0], atol=2e-6)
    np.testing.assert_allclose(voice[:, 0], 0, atol=1e-7)


def test_the_memory_does_not_grow_with_the_sound(tmp_path: Path) -> None:
    taken = 0

    def endless() -> Iterator[Block]:
        nonlocal taken
        while True:
            taken += HOP
            yield np.zeros((HOP, 2), np.float32)

    with closing(load_model(write_shares(tmp_path / "a.onnx"), 1).separate(endless())) as several:
        given = 0
        for _ in range(20):
            given += len(next(several)[Stem.VOICE])
            assert taken - given <= 5 * SAMPLES


@pytest.mark.parametrize("first", ["mix", "spectrum"])
def test_a_split_file_tells_four_bands_apart(first: str, tmp_path: Path) -> None:
    """Four tones at once: each stem has its own, at its level, phase and place."""
    time_s = np.arange(100_000) / 44_100
    tones_hz = (100, 500, 2000, 8000)
    assert sorted((*tones_hz, *BANDS_HZ))[1::2] == list(BANDS_HZ)
    left, right = (0.2, 0.1)
    tones = [
        np.stack([left * np.sin(phase), right * np.cos(phase)], axis=1).astype(np.float32)
        for phase in (2 * np.pi * tone * time_s for tone in tones_hz)
    ]
    mixture = np.asarray(np.sum(tones, axis=0), np.float32)
    engine = load_model(write_split(tmp_path / "a.onnx", first=first), 1)
    stems = whole_stems(engine, mixture, parts=PARTS)
    middle = slice(6000, 94_000)  # the ends of a tone are not a tone
    total = sum(stems.values())
    np.testing.assert_allclose(total, mixture, atol=2e-6)
    for stem, tone in zip((Stem.DRUMS, Stem.BASS, Stem.BACKGROUND, Stem.VOICE), tones, strict=True):
        np.testing.assert_allclose(stems[stem][middle], tone[middle], atol=2e-4)


def test_the_transform_is_that_of_the_training() -> None:
    """Frame f is that of 4096 samples from 1024 (f - 1.5) on, by the definition of the transform.

    The training pads 1536 samples, mirrored, and leaves out the two first and last frames of its
    transform, whose frames are centred: 2 - 3.5 is -1.5. Its transform is divided by the root
    of the length of a frame.
    """
    samples = noise(SAMPLES).T
    made = DemucsTransform(N_FFT, SAMPLES).spectrum(samples)
    assert made.shape == (4, BINS, FRAMES)
    window = np.sin(np.pi * np.arange(N_FFT) / N_FFT) ** 2
    position = np.arange(N_FFT)
    for frame, bin_, channel in ((0, 3, 0), (1, 40, 1), (7, 2000, 0), (FRAMES - 1, 17, 1)):
        places = np.abs(position + round((frame - 1.5) * HOP))
        places = np.where(places >= SAMPLES, 2 * (SAMPLES - 1) - places, places)
        turns = np.exp(-2j * np.pi * bin_ * position / N_FFT)
        value = np.sum(samples[channel][places] * window * turns) / np.sqrt(N_FFT)
        np.testing.assert_allclose(made[2 * channel, bin_, frame], value.real, atol=1e-5)
        np.testing.assert_allclose(made[2 * channel + 1, bin_, frame], value.imag, atol=1e-5)


@pytest.mark.parametrize("samples", [SAMPLES, SAMPLES + 300, 343_980])
def test_the_transform_is_undone_away_from_the_ends(samples: int) -> None:
    """The frames that the training leaves out are missing at the ends of a chunk, as there."""
    transform = DemucsTransform(N_FFT, samples)
    time_s = np.arange(samples) / 44_100
    sound = np.stack([np.sin(440 * time_s), np.cos(700 * time_s)]).astype(np.float32)
    back = transform.sound(transform.spectrum(sound))
    assert back.shape == sound.shape
    inner = slice(transform.lacking, samples - transform.lacking)
    np.testing.assert_allclose(back[:, inner], sound[:, inner], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "order"),
    [
        ({"stems": ["vocals", "other", "bass", "drums"]}, "vocals, other, bass, drums"),
        (
            {"notes": {"stems": '["bass", "drums", "vocals", "other"]'}},
            "bass, drums, vocals, other",
        ),
        ({"notes": {"sources": "other, vocals, drums, bass"}}, "other, vocals, drums, bass"),
        ({"count": "stems"}, "drums, bass, other, vocals"),
    ],
)
def test_the_order_of_the_stems_is_stated_or_that_of_the_published_files(
    options: dict[str, Any], order: str, tmp_path: Path
) -> None:
    model = write_shares(tmp_path / "a.onnx", **options)
    assert recognise(model).facts[-1] == f"stems {order}"
    sound = noise(20_000)
    voice = whole_stems(load_model(model, 1), sound)[Stem.VOICE]
    share = SHARES[order.split(", ").index("vocals")]
    np.testing.assert_allclose(voice, share * sound, atol=2e-6)


def test_six_stems_have_guitar_and_piano_in_the_background(tmp_path: Path) -> None:
    shares = np.array([0.05, 0.1, 0.15, 0.2, 0.25, 0.25], np.float32)
    sound = noise(20_000)
    stems = whole_stems(
        load_model(write_shares(tmp_path / "a.onnx", shares), 1), sound, parts=PARTS
    )
    np.testing.assert_allclose(stems[Stem.BACKGROUND], 0.65 * sound, atol=2e-6)


def test_a_length_that_is_open_is_taken_from_the_json_file(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    with pytest.raises(EngineMissing, match=r'leaves the length.*\{"samples": 343980\}'):
        load_model(write_shares(path, samples="length"), 1)
    model = write_shares(path, samples="length", batch="batch")
    model.with_suffix(".json").write_text('{"samples": 8192}')
    assert "input [1, 2, 8192]" in recognise(model).facts[0]
    sound = noise(30_000)
    np.testing.assert_allclose(
        whole_stems(load_model(model, 1), sound)[Stem.VOICE], 0.4 * sound, atol=2e-6
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"stems": ["drums", "bass", "other"]}, "the file has 4 stems"),
        ({"stems": ["drums", "bass", "other", "voice"]}, 'one of them must be "vocals"'),
        ({"stems": ["bass", "bass", "other", "vocals"]}, "a name is there twice"),
        ({"stems": "vocals"}, "it must be a list of names"),
        ({"samples": 100}, "samples is 100; it must be a number from 4096"),
        ({"samples": True}, "samples is True"),
        ({"notes": {"samplerate": "48000"}}, "works at 48000 Hz; only engines of 44100 Hz"),
        ({"shares": SHARES[:3]}, r"has 3 stems, and does not name them.*a\.json"),
        ({"samples": 4094}, "samples is 4094"),
    ],
)
def test_facts_that_are_not_valid_are_refused(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    model = tmp_path / "a.onnx"
    sidecar = {name: options.pop(name) for name in ("stems", "samples") if name in options}
    write_shares(model, **options)
    if sidecar:
        model.with_suffix(".json").write_text(json.dumps(sidecar))
    with pytest.raises(EngineMissing, match=words):
        load_model(model, 1)


@pytest.mark.parametrize(
    ("inputs", "outputs", "found"),
    [
        ({"x": [1, 1, 9000]}, {"y": [1, 4, 1, 9000]}, r"x \[1, 1, 9000\]"),
        ({"x": [1, 2, 9000]}, {"y": [1, 2, 9000]}, r"y \[1, 2, 9000\]"),
        ({"x": [1, 2, 9000]}, {"y": [1, 4, 2, 8000]}, r"y \[1, 4, 2, 8000\]"),
        (
            {"real": [1, 2, 2048, 16], "imag": [1, 2, 2048, 16], "x": [1, 2, SAMPLES]},
            {"y": [1, 4, 2, SAMPLES]},
            r"real \[1, 2, 2048, 16\], imag",
        ),
    ],
)
def test_other_graphs_are_refused_with_what_was_found(
    inputs: dict[str, Any], outputs: dict[str, Any], found: str, tmp_path: Path
) -> None:
    model = write_graph(tmp_path / "a.onnx", inputs, outputs)
    with pytest.raises(EngineMissing, match=f"neither an MDX-Net file.*nor a Demucs.*{found}"):
        load_model(model, 1)


def test_other_numbers_are_refused(tmp_path: Path) -> None:
    shapes = ({"x": [1, 2, 9000]}, {"y": [1, 4, 2, 9000]})
    model = write_graph(tmp_path / "a.onnx", *shapes, kind=TensorProto.FLOAT16)
    with pytest.raises(EngineMissing, match=r"x \[1, 2, 9000\] float16.*export it with float32"):
        load_model(model, 1)


def test_a_split_file_whose_inputs_do_not_fit_is_refused(tmp_path: Path) -> None:
    model = write_split(tmp_path / "a.onnx", frames=FRAMES + 1)
    with pytest.raises(EngineMissing, match=f"the spectrum of a Demucs file has {FRAMES} frames"):
        load_model(model, 1)


def test_weights_in_another_file_are_refused(tmp_path: Path) -> None:
    """The hash of the file would not tell that they changed."""
    import onnx

    model = write_shares(tmp_path / "a.onnx")
    onnx.save(
        onnx.load(model),
        model,
        save_as_external_data=True,
        location="a.data",
        size_threshold=0,
    )
    with pytest.raises(EngineMissing, match=r"are in another file.*onnx\.save"):
        load_model(model, 1)


def test_a_file_that_ends_too_early_is_damaged(tmp_path: Path) -> None:
    model = write_shares(tmp_path / "a.onnx")
    whole = model.read_bytes()
    for length in (0, 1, 20, len(whole) // 2):
        model.write_bytes(whole[:length])
        with pytest.raises(EngineMissing, match=r"damaged"):
            load_model(model, 1)


def test_music_mode_writes_four_stems_that_add_up(media: Media, tmp_path: Path) -> None:
    """All settings of the audio except the codec are ignored, as the vendor does."""
    source = media.encode(tmp_path / "in.wav", media.tones(2))
    outputs = {stem: tmp_path / f"{stem}.wav" for stem in Stem}
    task = SeparationTask(
        source,
        outputs,
        AudioMode.MUSIC_MODE,
        AudioConfig(codec="wav", samplerate=8000, channels=1),
        EngineChoice(write_shares(tmp_path / "a.onnx")),
    )
    result = separate_file(task, threads=1)
    sound, stems = media.decode(source), {stem: media.decode(outputs[stem]) for stem in Stem}
    for stem, share in zip(
        (Stem.DRUMS, Stem.BASS, Stem.BACKGROUND, Stem.VOICE), SHARES, strict=True
    ):
        np.testing.assert_allclose(stems[stem], share * sound, atol=1e-4)
    np.testing.assert_allclose(sum(stems.values()), sound, atol=2e-4)
    assert set(result.files) == set(Stem)
    assert {probe.audio[0].sample_rate_hz for probe in result.files.values()} == {44_100}


def test_music_mode_needs_an_engine_that_finds_bass_and_drums(media: Media, tmp_path: Path) -> None:
    source = media.encode(tmp_path / "in.wav", media.tones(1))
    task = SeparationTask(
        source,
        {stem: tmp_path / f"{stem}.wav" for stem in Stem},
        AudioMode.MUSIC_MODE,
        AudioConfig(codec="wav"),
        EngineChoice(write_model(tmp_path)),
    )
    with pytest.raises(SeparationFailed, match=r"small\.onnx finds voice; use Audio") as failed:
        separate_file(task, threads=1)
    assert failed.value.code == "InvalidArgument"
