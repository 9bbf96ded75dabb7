"""Real work: this project's separation, with its probes in the vendor's form.

Only worker processes import it.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.domain.engines import EngineChoice
from orchestrator.domain.spec import AudioConfig, AudioMode, Stem
from orchestrator.separation.errors import ENGINE_NOT_INSTALLED, SeparationFailed
from orchestrator.separation.separate import THREADS_VARIABLE, SeparationTask, separate_file
from orchestrator.server.workers.protocol import (
    MachineAtFault,
    Probe,
    WorkFailed,
    WorkResult,
    WorkTask,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.separation.media.probe import AudioStreamProbe, MediaProbe

_MACHINES = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.EIO}
)
"""Errors of the operating system that the next file would meet, too."""


def separate(task: WorkTask, on_progress: Callable[[float], None]) -> WorkResult:
    """Separate one file.

    Raises:
        WorkFailed: With the code and message of the separation.
    """
    outputs = {Stem(stem): Path(path) for stem, path in task.outputs.items()}
    mode, audio = AudioMode(task.mode), AudioConfig(**task.audio)
    engine = EngineChoice(Path(task.model) if task.model else None, task.plugin)
    job = SeparationTask(Path(task.source), outputs, mode, audio, engine)
    # The user's own number of threads goes before the share of this job.
    threads = None if os.environ.get(THREADS_VARIABLE) else task.threads
    try:
        result = separate_file(job, on_progress, threads=threads)
    except SeparationFailed as error:
        if isinstance(error.__cause__, ImportError):
            raise MachineAtFault(ENGINE_NOT_INSTALLED, error.message) from error
        kind = MachineAtFault if _is_machines(error) else WorkFailed
        raise kind(error.code, error.message) from error
    files = {stem.value: _probe(probe) for stem, probe in result.files.items()}
    return WorkResult(files, " ".join(result.notes), result.engine)


def _is_machines(error: SeparationFailed) -> bool:
    """Return True if no file could be separated on this machine as it is now."""
    cause = error.__cause__
    if isinstance(cause, OSError):
        return cause.errno in _MACHINES
    return error.code == ENGINE_NOT_INSTALLED


def _probe(probe: MediaProbe) -> Probe:
    leaves = {
        "Bitrate": _decimal(probe.bitrate_kbps),
        "Duration": _decimal(probe.duration_s),
        "FormatLongName": probe.format_long_name,
        "FormatName": probe.format_name,
        "NumProgram": str(probe.num_program),
        "NumStream": str(probe.num_stream),
        "Size": str(probe.size_bytes),
        "StartTime": _decimal(probe.start_time_s),
    }
    return Probe(_present(leaves), [_stream(stream) for stream in probe.audio])


def _stream(stream: AudioStreamProbe) -> dict[str, str]:
    leaves = {
        "Bitrate": _decimal(stream.bitrate_kbps),
        "Channel": str(stream.channels),
        "ChannelLayout": stream.channel_layout,
        "CodecLongName": stream.codec_long_name,
        "CodecName": stream.codec_name,
        "CodecTag": stream.codec_tag,
        "CodecTagString": stream.codec_tag_string,
        "Duration": _decimal(stream.duration_s),
        "Index": str(stream.index),
        "Language": stream.language,
        "SampleFmt": stream.sample_fmt,
        "SampleRate": str(stream.sample_rate_hz),
        "StartTime": _decimal(stream.start_time_s),
        "Timebase": stream.timebase,
    }
    return _present(leaves)


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _present(leaves: dict[str, str]) -> dict[str, str]:
    """Return the leaves that have a value; the vendor's page allows missing ones."""
    return {name: value for name, value in leaves.items() if value}
