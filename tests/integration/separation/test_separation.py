"""The whole way of one file, with the published weights."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
from orchestrator.separation.engines.interface import split
from orchestrator.separation.engines.spleeter import load_engine
from orchestrator.separation.quality import si_sdr_db
from orchestrator.separation.separate import (
    SeparationFailed,
    SeparationResult,
    SeparationTask,
    separate_file,
)

if TYPE_CHECKING:
    from orchestrator.separation.engines.interface import Block
    from tests.integration.separation.conftest import DemoFile, Media

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("engine_file")]

FLAC = AudioConfig(codec="flac")
THREADS = 2


def _separate(
    source: Path,
    folder: Path,
    mode: AudioMode = AudioMode.AUDIO_AND_BACKGROUND,
    audio: AudioConfig = FLAC,
) -> SeparationResult:
    outputs = {stem: folder / f"{stem}.tmp" for stem in (Stem.VOICE, Stem.BACKGROUND)}
    return separate_file(SeparationTask(source, outputs, mode, audio), threads=THREADS)


def _gain_db(estimate: Block, mixture: Block, truth: Block) -> float:
    shortest = min(len(estimate), len(truth))
    cut = slice(shortest)
    return si_sdr_db(estimate[cut], truth[cut]) - si_sdr_db(mixture[cut], truth[cut])


def _ints(sound: Block) -> np.ndarray:
    return np.round(sound * 32768).astype(int)


@pytest.mark.slow
def test_the_stems_of_the_demo_media_are_far_closer_to_the_truth_than_the_mixture(
    media: Media, tmp_path: Path
) -> None:
    """SI-SDR rises by 6 dB for the voice and 5 dB for the background on average, and by 4 dB on every file; the stems add up."""
    gains = {demo.mixture.name: _gains(demo, media, tmp_path) for demo in media.demo}
    for name, (voice_db, background_db) in gains.items():
        print(f"{name:16} voice +{voice_db:4.1f} dB, background +{background_db:4.1f} dB")  # noqa: T201 - shown with pytest -rP
    assert mean(voice for voice, _ in gains.values()) >= 6
    assert mean(background for _, background in gains.values()) >= 5
    assert min(min(pair) for pair in gains.values()) >= 4, gains


def _gains(demo: DemoFile, media: Media, folder: Path) -> tuple[float, float]:
    result = _separate(demo.mixture, folder)
    mixture, voice, background = (
        media.decode(path)
        for path in (demo.mixture, folder / "voice.tmp", folder / "background.tmp")
    )
    assert len(voice) == len(background) == len(mixture)
    in_range = np.abs(mixture) < 1 - 1 / 32768
    # Two stems of 16 bits are each rounded by half a step, and so is what they are compared with here.
    assert np.abs((_ints(voice) + _ints(background)) - _ints(mixture))[in_range].max() <= 1
    assert result.media_duration_s == pytest.approx(len(mixture) / 44100)
    return _gain_db(voice, mixture, media.decode(demo.voice)), _gain_db(
        background, mixture, media.decode(demo.background)
    )


def test_a_lossless_16_bit_file_is_given_back_by_its_stems_within_one_step(
    media: Media, tmp_path: Path
) -> None:
    """Flac in, two flac out: their sum differs from the input by at most one of 65536 steps."""
    (source,) = (demo.mixture for demo in media.demo if demo.mixture.suffix == ".flac")
    _separate(source, tmp_path)
    difference = (
        _ints(media.decode(tmp_path / "voice.tmp"))
        + _ints(media.decode(tmp_path / "background.tmp"))
        - _ints(media.decode(source))
    )
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("length", [1, 100, 4095])
def test_the_shortest_files_are_separated(length: int, media: Media, tmp_path: Path) -> None:
    """One sample, less than a hop, less than a frame: the stems are as long as the input."""
    source = media.encode(tmp_path / "short.wav", media.tones(1)[:length])
    result = _separate(source, tmp_path)
    assert (
        len(media.decode(tmp_path / "voice.tmp"))
        == len(media.decode(tmp_path / "background.tmp"))
        == length
    )
    assert result.media_duration_s == pytest.approx(length / 44100)


def test_an_engine_without_sound_gives_nothing(engine_file: Path) -> None:
    """Length zero needs no special case."""
    assert list(load_engine(engine_file, THREADS).voice([])) == []


@pytest.mark.slow
def test_a_stream_of_small_blocks_gives_what_the_whole_file_gives(
    engine_file: Path, media: Media
) -> None:
    """How the sound arrives changes nothing, also across the engine's own blocks of 12 seconds."""
    (demo,) = (demo for demo in media.demo if demo.mixture.name == "lecture.mp3")
    sound = media.decode(demo.mixture)[: 15 * 44100]
    engine = load_engine(engine_file, THREADS)
    whole = [np.concatenate(stem) for stem in zip(*split(engine, [sound]), strict=True)]
    pieces = [
        np.concatenate(stem)
        for stem in zip(
            *split(engine, (sound[at : at + 1152] for at in range(0, len(sound), 1152))),
            strict=True,
        )
    ]
    for one, other in zip(whole, pieces, strict=True):
        assert len(one) == len(sound)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("mode", "stem"), [(AudioMode.IS_AUDIO, Stem.VOICE), (AudioMode.IS_BACKGROUND, Stem.BACKGROUND)]
)
def test_a_mode_of_one_stem_writes_that_one_only(
    mode: AudioMode, stem: Stem, media: Media, tmp_path: Path
) -> None:
    """A name for a stem that the mode does not make is passed over."""
    result = _separate(media.encode(tmp_path / "in.wav", media.tones(1)), tmp_path, mode)
    assert set(result.files) == {stem}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.wav", f"{stem}.tmp"])


@pytest.mark.parametrize("codec", ["aac", "mp3", "amr", "wav"])
def test_what_is_left_out_comes_from_the_source(codec: str, media: Media, tmp_path: Path) -> None:
    """44.1 kHz and the source's channels, or the most that the codec has; the probes tell what was written."""
    source = media.encode(tmp_path / "six.wav", media.tones(1), channels=6)
    rate = 8000 if codec == "amr" else None
    result = _separate(source, tmp_path, audio=AudioConfig(codec=codec, samplerate=rate))
    assert result.source.audio[0].channels == 6
    for probe in result.files.values():
        assert probe.audio[0].sample_rate_hz == (rate or 44100)
        assert probe.audio[0].channels == {"aac": 6, "wav": 6, "mp3": 2, "amr": 1}[codec]
        assert probe.duration_s == pytest.approx(1.0, abs=0.03)
        assert probe.size_bytes > 0


def test_progress_rises_to_the_end(media: Media, tmp_path: Path) -> None:
    """The done part never falls, and is told on the way."""
    told: list[float] = []
    source = media.encode(tmp_path / "in.wav", media.tones(30))
    task = SeparationTask(source, {Stem.VOICE: tmp_path / "voice"}, AudioMode.IS_AUDIO, FLAC)
    result = separate_file(task, told.append, threads=THREADS)
    assert told == sorted(told)
    assert len(told) >= 3
    assert 0.3 < told[0] < 0.5
    assert told[-1] == pytest.approx(1.0)
    assert result.realtime_factor == pytest.approx(result.work_s / 30, rel=0.01)


def test_a_file_that_breaks_off_leaves_no_stems(media: Media, tmp_path: Path) -> None:
    """The fault is found at the end, when much is written; nothing of it stays."""
    source = tmp_path / "cut.wav"
    whole = media.encode(tmp_path / "whole.wav", media.tones(30))
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    with pytest.raises(SeparationFailed) as failed:
        _separate(source, tmp_path)
    assert failed.value.code == "ResourceNotSupported"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.wav", "whole.wav"]


@pytest.mark.skipif(
    not Path("/dev/full").exists(), reason="the system has no disk that is always full"
)
def test_a_full_disk_is_told_and_leaves_nothing(media: Media, tmp_path: Path) -> None:
    """The machine's own faults have their own code."""
    source = media.encode(tmp_path / "in.wav", media.tones(2))
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(SeparationFailed, match=r"InternalError: .*No space left"):
        separate_file(
            SeparationTask(source, {Stem.VOICE: full}, AudioMode.IS_AUDIO, FLAC), threads=THREADS
        )
    assert not full.is_symlink()


def test_nowhere_to_write_is_told(media: Media, tmp_path: Path) -> None:
    """A folder that does not exist is the machine's fault, not the file's."""
    source = media.encode(tmp_path / "in.wav", media.tones(1))
    with pytest.raises(SeparationFailed, match=r"InternalError: .*No such file"):
        separate_file(
            SeparationTask(
                source, {Stem.VOICE: tmp_path / "absent/voice"}, AudioMode.IS_AUDIO, FLAC
            ),
            threads=THREADS,
        )


@pytest.mark.parametrize(
    ("mode", "audio", "stems", "words"),
    [
        (AudioMode.MUSIC_MODE, AudioConfig(codec="mp3"), [Stem.VOICE], "MusicMode"),
        (AudioMode.IS_AUDIO, AudioConfig(codec="amr"), [Stem.VOICE], "8000"),
        (AudioMode.IS_AUDIO, FLAC, [Stem.BACKGROUND], "no name was given"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_work(
    mode: AudioMode, audio: AudioConfig, stems: list[Stem], words: str, media: Media, tmp_path: Path
) -> None:
    """Wrong combinations get a sentence and the code for a wrong argument."""
    task = SeparationTask(
        media.demo[0].mixture, {stem: tmp_path / stem for stem in stems}, mode, audio
    )
    with pytest.raises(SeparationFailed, match=words) as failed:
        separate_file(task)
    assert failed.value.code == "InvalidArgument"
    assert not list(tmp_path.iterdir())


def test_without_the_weights_the_job_says_which_command_mends_it(
    media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No silent substitute: the code says that the engine is missing, the sentence how to get it."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path / "nothing"))
    with pytest.raises(SeparationFailed, match="orchestrator fetch-engine") as failed:
        _separate(media.demo[0].mixture, tmp_path)
    assert failed.value.code == "EngineNotInstalled"


def test_damaged_weights_are_told_too(
    media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that onnxruntime cannot load is not a crash."""
    from orchestrator.separation.install.cache import ENGINE_FILE

    (tmp_path / ENGINE_FILE).write_bytes(b"not a network")
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path))
    with pytest.raises(SeparationFailed, match=r"damaged.*orchestrator fetch-engine") as failed:
        _separate(media.demo[0].mixture, tmp_path)
    assert failed.value.code == "EngineNotInstalled"


def test_a_number_of_threads_that_is_none_is_told(
    media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment variable is checked, not guessed at."""
    monkeypatch.setenv("ORCHESTRATOR_ENGINE_THREADS", "many")
    with pytest.raises(SeparationFailed, match="ORCHESTRATOR_ENGINE_THREADS=many"):
        separate_file(SeparationTask(media.demo[0].mixture, {Stem.VOICE: tmp_path / "voice"}))


def test_a_failure_survives_the_way_between_processes() -> None:
    """Code and message come out of a pickle as they went in."""
    failed = pickle.loads(  # noqa: S301
        pickle.dumps(SeparationFailed("ResourceNotFound", "The input does not exist."))
    )
    assert (failed.code, failed.message) == ("ResourceNotFound", "The input does not exist.")
    assert str(failed) == "ResourceNotFound: The input does not exist."


def test_two_threads_may_separate_at_once(media: Media, tmp_path: Path) -> None:
    """The loaded engine has no state of its own; both results are as if alone."""
    source = media.encode(tmp_path / "in.wav", media.tones(3))
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    threads = [threading.Thread(target=_separate, args=(source, folder)) for folder in folders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = ((folder / "voice.tmp").read_bytes() for folder in folders)
    assert first == second


def test_the_contract_is_light_to_import() -> None:
    """The service's own process knows tasks and codes without loading numpy, FFmpeg or onnxruntime."""
    code = "import sys, orchestrator.separation.separate; print([m for m in ('numpy', 'av', 'onnxruntime', 'onnx') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
