"""The work on one job, as plain values: what a worker process is told, and what it answers. JSON on the way between the processes."""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class WorkTask:
    """One file to separate.

    Attributes:
        source: Path of the input.
        outputs: File to write for each stem (``voice``, ``background`` ...).
        mode: AudioMode.
        audio: AudioConfig: ``codec``, ``samplerate``, ``bitrate``, ``channels``.
    """

    source: str
    outputs: dict[str, str]
    mode: str
    audio: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Probe:
    """The vendor's leaves of MediaInfo for one file: ``Format`` and its ``Stream/Audio`` elements, every value as text."""

    format: dict[str, str]
    audio: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class WorkResult:
    """What was written: a probe for each stem."""

    files: dict[str, Probe]


class WorkFailed(Exception):
    """A job cannot be done.

    Attributes:
        code: Goes into the job's ``Code``.
        message: Goes into the job's ``Message``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Work(Protocol):
    """Does one job; called in a worker process, blocking."""

    def __call__(self, task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
        """Write the outputs, or raise :class:`WorkFailed`."""
        ...


def write_silence(path: Path, seconds: float = 0.1, rate_hz: int = 8000) -> None:
    """A small real wav file: what simulated work puts in the place of a stem, whatever its name."""
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(bytes(2 * int(seconds * rate_hz)))


def silence_probe(size_bytes: int, media_s: float, rate_hz: int = 8000) -> Probe:
    """The probe of such a file that claims to be ``media_s`` long."""
    length, rate = f"{media_s:.6f}", f"{rate_hz * 16 / 1000:.6f}"
    shape = {"Bitrate": rate, "Duration": length}
    names = {
        "FormatLongName": "WAV / WAVE (Waveform Audio)",
        "FormatName": "wav",
        "NumProgram": "0",
        "NumStream": "1",
    }
    stream = {
        "Channel": "1",
        "ChannelLayout": "mono",
        "CodecName": "pcm_s16le",
        "Index": "0",
        "SampleFmt": "s16",
    }
    start = {"StartTime": "0.000000"}
    return Probe(
        {**shape, **names, **start, "Size": str(size_bytes)},
        [{**shape, **stream, **start, "SampleRate": str(rate_hz)}],
    )


def simulate(task: WorkTask, media_s: float) -> WorkResult:
    """Write silence for every named stem."""
    for path in task.outputs.values():
        write_silence(Path(path))
    return WorkResult(
        {
            stem: silence_probe(Path(path).stat().st_size, media_s)
            for stem, path in task.outputs.items()
        }
    )
