"""Task and result of a worker process; they travel between the processes as JSON."""

from __future__ import annotations

import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.separation.errors import ENGINE_NOT_INSTALLED

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
        threads: Threads of the engine; 0: one per core.
        model: Model file that separates; empty: another engine.
        plugin: Engine of another package; empty, too: the default one.
        job: Id of the job, for logs and for the choice of another node.
    """

    source: str
    outputs: dict[str, str]
    mode: str
    audio: dict[str, Any] = field(default_factory=dict)
    threads: int = 0
    model: str = ""
    plugin: str = ""
    job: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """MediaInfo of one file: ``Format`` and its ``Stream/Audio`` elements, with values as text."""

    format: dict[str, str]
    audio: list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class WorkResult:
    """The files that were written.

    Attributes:
        files: Probe of each stem.
        message: What the user should know about a job that succeeded; usually empty.
        engine: What separated: runtime, precision, threads. Empty for simulated work.
    """

    files: dict[str, Probe]
    message: str = ""
    engine: str = ""


def result_of_message(done: dict[str, Any]) -> WorkResult:
    """Return the result in a message of a worker."""
    files = {stem: Probe(**probe) for stem, probe in done["files"].items()}
    return WorkResult(files, done["message"], done["engine"])


class WorkFailed(Exception):
    """The work of a job failed.

    Attributes:
        code: The job's ``Code``.
        message: The job's ``Message``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class MachineAtFault(WorkFailed):
    """This machine cannot work now, on any file: no engine, a full disk. Not the job's fault."""

    @property
    def is_of_engine(self) -> bool:
        """The engine cannot be loaded, which hardly passes by itself."""
        return self.code == ENGINE_NOT_INSTALLED


class WorkerLost(WorkFailed):
    """The worker is gone, and the job can run elsewhere: its node died, or does not answer.

    Attributes:
        is_counted: The job may be the reason (it needs too much memory, for example), so the start
            counts.
        fault: Fault of the worker's machine that was the reason, if it was one.
    """

    def __init__(
        self, message: str, *, is_counted: bool = True, fault: MachineAtFault | None = None
    ) -> None:
        super().__init__("InternalError", message)
        self.is_counted = is_counted
        self.fault = fault


class Workers(Protocol):
    """Workers of the service: processes of this machine, or actors of a Ray cluster."""

    @property
    def capacity(self) -> int:
        """Number of jobs that can run at once now."""

    async def open(self, on_capacity: Callable[[], None]) -> None:
        """Start; ``on_capacity`` is called whenever the capacity has changed.

        Raises:
            ConfigError: The workers cannot be used.
        """

    async def run(self, task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
        """Do one task.

        Raises:
            WorkFailed: If the work failed, or its worker died.
            WorkerLost: If the worker is gone, and the task can be done by another one.
        """
        ...

    async def close(self) -> None:
        """Stop every worker."""


class Work(Protocol):
    """Does the work of one job; it runs in a worker process and blocks.

    It reports a progress, of 0 at first, once its engine is loaded: if the process dies before,
    the file is not the reason.
    """

    def __call__(self, task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
        """Write the outputs, or raise :class:`WorkFailed`."""
        ...


def simulate(task: WorkTask, media_s: float) -> WorkResult:
    """Write short silence as every named stem; the probes claim a length of ``media_s``."""
    rate_hz, frames = 8000, 800
    shape = {
        "Bitrate": f"{rate_hz * 16 / 1000:.6f}",
        "Duration": f"{media_s:.6f}",
        "StartTime": "0.000000",
    }
    container = {
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
        "SampleRate": str(rate_hz),
    }
    probes = {}
    for stem, path in task.outputs.items():
        with wave.open(path, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(rate_hz)
            out.writeframes(bytes(2 * frames))
        size = {"Size": str(Path(path).stat().st_size)}
        probes[stem] = Probe({**shape, **container, **size}, [{**shape, **stream}])
    return WorkResult(probes)
