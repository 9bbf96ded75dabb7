"""One file, the whole way: decode, separate, encode. Blocking; meant for a worker process of the local service."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orchestrator.domain.audio_formats import check_audio
from orchestrator.domain.clock import SystemClock
from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
from orchestrator.errors import EngineMissing
from orchestrator.separation.errors import (
    ENGINE_NOT_INSTALLED,
    INTERNAL_ERROR,
    INVALID_ARGUMENT,
    SeparationFailed,
)
from orchestrator.separation.formats import resolve
from orchestrator.separation.install.cache import installed_engine
from orchestrator.separation.media.container import open_media, refuse_unreadable
from orchestrator.separation.media.probe import MediaProbe, probe_container, probe_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orchestrator.domain.ports import Clock
    from orchestrator.separation.engines.interface import VoiceEngine

__all__ = [
    "MediaProbe",
    "SeparationFailed",
    "SeparationResult",
    "SeparationTask",
    "separate_file",
]

THREADS_VARIABLE: Final = "ORCHESTRATOR_ENGINE_THREADS"
"""Environment variable: threads per job when the caller names none; 0 (the default) is one per core."""


@dataclass(frozen=True, slots=True)
class SeparationTask:
    """What is to be done with one file.

    Attributes:
        source: Any audio or video file.
        outputs: File to write for each stem; the format comes from ``audio``, never from the name. A stem that ``mode`` does not
            make is passed over, as the vendor does.
        mode: Which stems to make.
        audio: How to encode them. Left out: aac, 44100 Hz, the source's channel count, 80-96 kbit/s per channel.
    """

    source: Path
    outputs: dict[Stem, Path]
    mode: AudioMode = AudioMode.AUDIO_AND_BACKGROUND
    audio: AudioConfig = field(default_factory=AudioConfig)


@dataclass(frozen=True, slots=True)
class SeparationResult:
    """What was made.

    Attributes:
        files: Each stem's file.
        source: The input.
        media_duration_s: Length of the sound.
        load_s: Time to have the engine ready; almost nothing but for the first file of a process.
        work_s: Time to decode, separate and encode.
    """

    files: dict[Stem, MediaProbe]
    source: MediaProbe
    media_duration_s: float
    load_s: float
    work_s: float

    @property
    def realtime_factor(self) -> float:
        """Working time over length of the sound."""
        return self.work_s / self.media_duration_s


def separate_file(
    task: SeparationTask,
    on_progress: Callable[[float], None] | None = None,
    *,
    threads: int | None = None,
    clock: Clock | None = None,
) -> SeparationResult:
    """Separate one file; its outputs are complete when this returns, and absent when it raises.

    The loaded engine is kept for the next call in the same process (about 0.5 GB while it works).

    Args:
        task: What to do.
        on_progress: Called with the done part, 0 to 1, every few seconds of work.
        threads: Threads of the engine; None: ``ORCHESTRATOR_ENGINE_THREADS``, else one per core.
        clock: For the timing figures.

    Raises:
        SeparationFailed: With one of the codes of ``failure`` and a sentence that helps.
    """
    on_progress, threads = on_progress or _silent, _threads(threads)
    try:
        return _separate(task, on_progress, threads, clock or SystemClock())
    except SeparationFailed:
        raise
    except EngineMissing as error:
        raise SeparationFailed(ENGINE_NOT_INSTALLED, str(error)) from error
    except MemoryError as error:
        raise SeparationFailed(
            INTERNAL_ERROR, "The machine ran out of memory; run fewer jobs at once."
        ) from error
    except OSError as error:
        raise SeparationFailed(
            INTERNAL_ERROR, f"The machine could not do it: {error.strerror or error}."
        ) from error
    except Exception as error:  # the last line before the process boundary: one poisoned file ends its own job only
        raise SeparationFailed(
            INTERNAL_ERROR, f"The separation failed unexpectedly ({type(error).__name__}: {error})."
        ) from error


def _separate(
    task: SeparationTask, on_progress: Callable[[float], None], threads: int, clock: Clock
) -> SeparationResult:
    outputs = _wanted(task)
    refuse_unreadable(task.source)
    begun = clock.monotonic()
    engine = _engine(threads)
    loaded = clock.monotonic()
    try:
        source, duration_s = _stream(task, outputs, engine, on_progress)
        files = {stem: probe_file(path, duration_s) for stem, path in outputs.items()}
    except BaseException:
        for path in outputs.values():
            path.unlink(missing_ok=True)
        raise
    return SeparationResult(files, source, duration_s, loaded - begun, clock.monotonic() - loaded)


def _stream(
    task: SeparationTask,
    outputs: dict[Stem, Path],
    engine: VoiceEngine,
    on_progress: Callable[[float], None],
) -> tuple[MediaProbe, float]:
    """Decode, separate and encode at once; what the source is, and the length of its sound."""
    from orchestrator.separation.engines.interface import split
    from orchestrator.separation.media.decode import Decoder
    from orchestrator.separation.media.encode import StemWriters

    with open_media(task.source) as container:
        decoder = Decoder(task.source, container)
        with StemWriters(outputs, resolve(task.audio, decoder.channels)) as writers:
            for voice, background in split(engine, decoder.blocks()):
                writers.write({Stem.VOICE: voice, Stem.BACKGROUND: background})
                on_progress(decoder.done_part)
            writers.close()
        return probe_container(
            container, task.source.stat().st_size, decoder.length_s
        ), decoder.length_s


def _wanted(task: SeparationTask) -> dict[Stem, Path]:
    """The files to write; what cannot be done is refused before any work."""
    if task.mode is AudioMode.MUSIC_MODE:
        text = "MusicMode is not possible here: this machine's engine knows voice and background, no bass or drums; use AudioAndBackground."
        raise SeparationFailed(INVALID_ARGUMENT, text)
    fault = check_audio(task.mode, task.audio)
    if fault:
        raise SeparationFailed(INVALID_ARGUMENT, fault)
    outputs = {stem: task.outputs[stem] for stem in task.mode.stems if stem in task.outputs}
    if not outputs:
        raise SeparationFailed(
            INVALID_ARGUMENT,
            f"AudioMode {task.mode} makes {' and '.join(task.mode.stems)}, but no name was given for it.",
        )
    return outputs


def _engine(threads: int) -> VoiceEngine:
    from orchestrator.separation.engines.spleeter import load_engine

    return load_engine(installed_engine(), threads)


def _threads(chosen: int | None) -> int:
    if chosen is not None:
        return chosen
    named = os.environ.get(THREADS_VARIABLE, "0")
    if not named.isdecimal():
        raise SeparationFailed(
            INTERNAL_ERROR,
            f"{THREADS_VARIABLE}={named} is not a number of threads; set 1 or more, or 0 for one per core.",
        )
    return int(named)


def _silent(_: float) -> None:
    """Nobody wants to know."""
