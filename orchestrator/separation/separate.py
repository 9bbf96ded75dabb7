"""Separate one file: decode, separate, encode. Blocking; meant for a worker process."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchestrator.domain.audio_formats import check_audio
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.engines import DEFAULT_ENGINE, EngineChoice
from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
from orchestrator.domain.wording import listed
from orchestrator.errors import EngineMissing
from orchestrator.separation.cores import usable_cores
from orchestrator.separation.errors import (
    ENGINE_FAILED,
    ENGINE_NOT_INSTALLED,
    INTERNAL_ERROR,
    INVALID_ARGUMENT,
    MUSIC_REFUSED,
    EngineFailed,
    SeparationFailed,
    WrongLength,
)
from orchestrator.separation.formats import resolve
from orchestrator.separation.install.installed import installed_engine
from orchestrator.separation.media.container import open_media, refuse_unreadable
from orchestrator.separation.media.probe import MediaProbe, probe_file, probe_separated

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.domain.ports import Clock
    from orchestrator.separation.engines.interface import Engine

THREADS_VARIABLE: Final = "ORCHESTRATOR_ENGINE_THREADS"
"""Environment variable: default number of threads per job; 0 (the default) means one per core."""

_MUSIC_PARTS: Final = (Stem.VOICE, Stem.BASS, Stem.DRUMS)
"""Stems of MusicMode that an engine finds; the background is the rest."""


@dataclass(frozen=True, slots=True)
class SeparationTask:
    """One file to separate.

    Attributes:
        source: Any audio or video file.
        outputs: File to write for each stem; the format comes from ``audio``, never from the name.
            Stems that ``mode`` does not make are ignored, as the vendor ignores them.
        mode: Stems to make.
        audio: Format of the outputs. Default: aac, 44100 Hz, the source's channel count,
            80 kbit/s per channel (mp3: 96).
        engine: The engine.
    """

    source: Path
    outputs: dict[Stem, Path]
    mode: AudioMode = AudioMode.AUDIO_AND_BACKGROUND
    audio: AudioConfig = field(default_factory=AudioConfig)
    engine: EngineChoice = DEFAULT_ENGINE


@dataclass(frozen=True, slots=True)
class SeparationResult:
    """The files that were written.

    Attributes:
        files: File of each stem.
        source: The input.
        media_duration_s: Length of the sound.
        load_s: Time to load the engine; almost zero after the first file of a process.
        work_s: Time to decode, separate and encode.
        notes: Sentences about everything that makes the stems differ from the plain sound: the
            chosen track, filled holes, a lower level.
        engine: Runtime, precision and threads of the engine.
    """

    files: dict[Stem, MediaProbe]
    source: MediaProbe
    media_duration_s: float
    load_s: float
    work_s: float
    notes: tuple[str, ...] = ()
    engine: str = ""

    @property
    def realtime_factor(self) -> float:
        """Working time divided by the length of the sound."""
        return self.work_s / self.media_duration_s


def separate_file(
    task: SeparationTask,
    on_progress: Callable[[float], None] | None = None,
    *,
    threads: int | None = None,
    clock: Clock | None = None,
) -> SeparationResult:
    """Separate one file; its outputs are complete after a return and absent after an exception.

    The loaded engine is kept for the next call in the same process (about 0.5 GB while it works).

    Args:
        task: The file to separate.
        on_progress: Called with 0 once the engine is loaded, and then for every second of sound
            with the finished part, 0 to 1.
        threads: Threads of the engine. Default (None or 0): ``ORCHESTRATOR_ENGINE_THREADS``, or
            else one per core.
        clock: Source of the timing figures.

    Raises:
        SeparationFailed: The code is one of ``errors``, and the message states the remedy.
    """
    try:
        return _separate(task, on_progress, _threads(threads), clock or SystemClock())
    except SeparationFailed:
        raise
    except EngineMissing as error:
        raise SeparationFailed(ENGINE_NOT_INSTALLED, str(error)) from error
    except EngineFailed as error:
        raise SeparationFailed(ENGINE_FAILED, str(error)) from error
    except WrongLength as error:
        message = f"The engine {_named(task.engine)} failed: {error}."
        raise SeparationFailed(ENGINE_FAILED, message) from error
    except MemoryError as error:
        message = "The machine ran out of memory; run fewer jobs at once."
        raise SeparationFailed(INTERNAL_ERROR, message) from error
    except OSError as error:
        message = f"The machine failed: {error.strerror or error}."
        raise SeparationFailed(INTERNAL_ERROR, message) from error
    except Exception as error:  # the process boundary: a bad file must end its own job only
        message = f"The separation failed unexpectedly ({type(error).__name__}: {error})."
        raise SeparationFailed(INTERNAL_ERROR, message) from error


def _separate(
    task: SeparationTask, on_progress: Callable[[float], None] | None, threads: int, clock: Clock
) -> SeparationResult:
    outputs = _wanted(task)
    refuse_unreadable(task.source)
    from orchestrator.separation.engines.loading import load_engine

    started = clock.monotonic()
    engine = load_engine(task.engine, threads, installed_engine)
    _check_stems(task, engine)
    if on_progress is not None:
        on_progress(0.0)  # a crash from here on may be the file's fault
    loaded = clock.monotonic()
    try:
        source, duration_s, notes = _stream(task, outputs, engine, on_progress)
        files = {stem: probe_file(path, duration_s) for stem, path in outputs.items()}
    except BaseException:
        for path in outputs.values():
            path.unlink(missing_ok=True)
        raise
    work_s = clock.monotonic() - loaded
    return SeparationResult(
        files, source, duration_s, loaded - started, work_s, notes, engine.runtime
    )


def _stream(
    task: SeparationTask,
    outputs: dict[Stem, Path],
    engine: Engine,
    on_progress: Callable[[float], None] | None,
) -> tuple[MediaProbe, float, tuple[str, ...]]:
    """Decode, separate and encode in one pass; return the source's probe, length and notes."""
    from orchestrator.separation.engines.interface import split
    from orchestrator.separation.media.decode import Decoder
    from orchestrator.separation.media.encode import StemWriters
    from orchestrator.separation.media.mixdown import MonoCheck

    with open_media(task.source) as container:
        decoder = Decoder(task.source, container)
        is_music = task.mode is AudioMode.MUSIC_MODE
        # MusicMode ignores all settings except the codec, as the vendor does.
        audio = AudioConfig(codec=task.audio.codec) if is_music else task.audio
        form = resolve(audio, decoder.channels)
        parts = _MUSIC_PARTS if is_music else (Stem.VOICE,)
        mono = MonoCheck()
        with StemWriters(outputs, form) as writers:
            blocks = mono.watched(decoder.blocks()) if form.channels == 1 else decoder.blocks()
            samples = 0
            # Closed before the container: a thread of the engine may still decode.
            with closing(split(engine, blocks, parts)) as several:
                for stems in several:
                    writers.write(stems)
                    samples += len(stems[Stem.VOICE])
                    if on_progress is not None:
                        on_progress(decoder.part(samples))
            writers.close()
        size_bytes = task.source.stat().st_size
        source = probe_separated(container, size_bytes, decoder.length_s)
        return source, decoder.length_s, (*decoder.notes, *mono.notes)


def _wanted(task: SeparationTask) -> dict[Stem, Path]:
    """Return the files to write, or refuse the task before any work."""
    if task.mode is AudioMode.MUSIC_MODE and task.engine.is_default:
        raise SeparationFailed(INVALID_ARGUMENT, MUSIC_REFUSED)
    if fault := check_audio(task.mode, task.audio):
        raise SeparationFailed(INVALID_ARGUMENT, fault)
    outputs = {stem: task.outputs[stem] for stem in task.mode.stems if stem in task.outputs}
    if not outputs:
        stems = " and ".join(task.mode.stems)
        message = f"AudioMode {task.mode} makes {stems}, but no name was given for it."
        raise SeparationFailed(INVALID_ARGUMENT, message)
    return outputs


def _check_stems(task: SeparationTask, engine: Engine) -> None:
    """Check that the engine finds the stems of the mode."""
    missing = [stem for stem in _MUSIC_PARTS if stem not in engine.stems]
    if task.mode is AudioMode.MUSIC_MODE and missing:
        message = (
            f"MusicMode needs an engine that finds bass and drums, and {_named(task.engine)} finds "
            f"{listed(engine.stems, 'and')}; use AudioAndBackground, or another engine."
        )
        raise SeparationFailed(INVALID_ARGUMENT, message)


def _named(choice: EngineChoice) -> str:
    if choice.plugin:
        return f"{choice.plugin} (a plug-in)"
    return choice.model.name if choice.model is not None else "Spleeter"


def _threads(chosen: int | None) -> int:
    if chosen:
        return chosen
    named = os.environ.get(THREADS_VARIABLE) or "0"
    if not named.isdecimal():
        message = (
            f"{THREADS_VARIABLE}={named} is not a number of threads; "
            "set 1 or more, or 0 for one per core."
        )
        raise SeparationFailed(INTERNAL_ERROR, message)
    return int(named) or usable_cores()
