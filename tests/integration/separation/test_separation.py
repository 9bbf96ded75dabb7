"""One file is separated from end to end, with the published weights."""

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
from orchestrator.separation.engines.spleeter import load_spleeter
from orchestrator.separation.errors import SeparationFailed
from orchestrator.separation.separate import SeparationResult, SeparationTask, separate_file
from tests.quality import si_sdr_db
from tests.whole_stems import whole_stems

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
def test_the_separation_improves_si_sdr_on_the_demo_media(media: Media, tmp_path: Path) -> None:
    """The gain is 6 dB for voice and 5 dB for background on average, and 4 dB on every file."""
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
    # Each 16-bit stem is rounded by half a step, and so is the mixture here.
    assert np.abs((_ints(voice) + _ints(background)) - _ints(mixture))[in_range].max() <= 1
    assert result.media_duration_s == pytest.approx(len(mixture) / 44100)
    return _gain_db(voice, mixture, media.decode(demo.voice)), _gain_db(
        background, mixture, media.decode(demo.background)
    )


def test_the_stems_of_a_lossless_16_bit_file_add_up_to_it_within_one_step(
    media: Media, tmp_path: Path
) -> None:
    """The sum of two flac stems differs from the input by at most one of 65536 steps."""
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


def test_an_empty_stream_has_an_empty_voice(engine_file: Path) -> None:
    """A stream without blocks is not an error."""
    assert list(load_spleeter(engine_file, THREADS).separate([])) == []


@pytest.mark.slow
def test_the_size_of_the_blocks_does_not_change_the_result(engine_file: Path, media: Media) -> None:
    """Small blocks give the same stems, also across the engine's own blocks of 12 seconds."""
    (demo,) = (demo for demo in media.demo if demo.mixture.name == "lecture.mp3")
    sound = media.decode(demo.mixture)[: 15 * 44100]
    engine = load_spleeter(engine_file, THREADS)
    whole, pieces = (whole_stems(engine, sound, block) for block in (len(sound), 1152))
    for stem, block in whole.items():
        assert len(block) == len(sound)
        np.testing.assert_array_equal(block, pieces[stem])


@pytest.mark.parametrize(
    ("mode", "stem"), [(AudioMode.IS_AUDIO, Stem.VOICE), (AudioMode.IS_BACKGROUND, Stem.BACKGROUND)]
)
def test_a_mode_of_one_stem_writes_only_that_stem(
    mode: AudioMode, stem: Stem, media: Media, tmp_path: Path
) -> None:
    """A name for another stem is ignored."""
    result = _separate(media.encode(tmp_path / "in.wav", media.tones(1)), tmp_path, mode)
    assert set(result.files) == {stem}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.wav", f"{stem}.tmp"])


@pytest.mark.parametrize("codec", ["aac", "mp3", "amr", "wav"])
def test_the_defaults_come_from_the_source(codec: str, media: Media, tmp_path: Path) -> None:
    """The default is 44.1 kHz and the source's channel count, or the most that the codec has."""
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
    """The first report is of the loaded engine; the finished part never decreases."""
    parts: list[float] = []
    source = media.encode(tmp_path / "in.wav", media.tones(30))
    task = SeparationTask(source, {Stem.VOICE: tmp_path / "voice"}, AudioMode.IS_AUDIO, FLAC)
    result = separate_file(task, parts.append, threads=THREADS)
    assert parts == sorted(parts)
    assert len(parts) >= 30
    assert parts[0] == 0
    assert 0 < parts[1] < 0.1
    assert parts[-1] == pytest.approx(1.0)
    assert result.realtime_factor == pytest.approx(result.work_s / 30, rel=0.01)


def test_a_file_that_was_cut_off_leaves_no_stems(media: Media, tmp_path: Path) -> None:
    """The fault is found at the end; the partly written stems are removed."""
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
def test_a_full_disk_is_reported_and_leaves_nothing(media: Media, tmp_path: Path) -> None:
    """A fault of the machine has its own code."""
    source = media.encode(tmp_path / "in.wav", media.tones(2))
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    with pytest.raises(SeparationFailed, match=r"InternalError: .*No space left"):
        separate_file(
            SeparationTask(source, {Stem.VOICE: full}, AudioMode.IS_AUDIO, FLAC), threads=THREADS
        )
    assert not full.is_symlink()


def test_a_missing_output_folder_is_reported(media: Media, tmp_path: Path) -> None:
    """The missing folder counts as a fault of the machine, not of the input."""
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
def test_an_impossible_task_is_refused_before_the_work(
    mode: AudioMode, audio: AudioConfig, stems: list[Stem], words: str, media: Media, tmp_path: Path
) -> None:
    """The code is that of a wrong argument, and no file is written."""
    task = SeparationTask(
        media.demo[0].mixture, {stem: tmp_path / stem for stem in stems}, mode, audio
    )
    with pytest.raises(SeparationFailed, match=words) as failed:
        separate_file(task)
    assert failed.value.code == "InvalidArgument"
    assert not list(tmp_path.iterdir())


def test_without_the_weights_the_message_names_the_command_that_installs_them(
    media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code states that the engine is missing; nothing replaces it silently."""
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path / "nothing"))
    with pytest.raises(SeparationFailed, match="orchestrator fetch-engine") as failed:
        _separate(media.demo[0].mixture, tmp_path)
    assert failed.value.code == "EngineNotInstalled"


def test_damaged_weights_are_reported(
    media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that no runtime can load is a missing engine, not a crash."""
    from orchestrator.separation.install.installed import ENGINE_FILE

    (tmp_path / ENGINE_FILE).write_bytes(b"not a network")
    monkeypatch.setenv("ORCHESTRATOR_CACHE_DIR", str(tmp_path))
    with pytest.raises(SeparationFailed, match=r"damaged.*orchestrator fetch-engine") as failed:
        _separate(media.demo[0].mixture, tmp_path)
    assert failed.value.code == "EngineNotInstalled"


def test_an_invalid_number_of_threads_is_reported(
    media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment variable is checked."""
    monkeypatch.setenv("ORCHESTRATOR_ENGINE_THREADS", "many")
    with pytest.raises(SeparationFailed, match="ORCHESTRATOR_ENGINE_THREADS=many"):
        separate_file(SeparationTask(media.demo[0].mixture, {Stem.VOICE: tmp_path / "voice"}))


def test_a_failure_can_be_pickled() -> None:
    """Code and message are the same after unpickling."""
    failed = pickle.loads(  # noqa: S301
        pickle.dumps(SeparationFailed("ResourceNotFound", "The input does not exist."))
    )
    assert (failed.code, failed.message) == ("ResourceNotFound", "The input does not exist.")
    assert str(failed) == "ResourceNotFound: The input does not exist."


def test_two_threads_can_separate_at_once(media: Media, tmp_path: Path) -> None:
    """The loaded engine keeps no state between calls, so the results are equal."""
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


def test_the_interface_is_cheap_to_import() -> None:
    """The service's main process loads neither numpy nor FFmpeg nor a runtime."""
    heavy = {"numpy", "av", "onnxruntime", "openvino", "onnx"}
    code = f"import sys, orchestrator.separation.separate; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
