"""The default engine: Deezer's Spleeter 2stems, run by onnxruntime, 512 frames (12 seconds) at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines import spleeter_graph
from orchestrator.separation.engines.stft import Analysis, Synthesis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block
    from orchestrator.separation.engines.stft import Spectrum

_FRAME_STEP: Final = 64
"""The network halves the frames six times."""


class SpleeterEngine:
    """A loaded network; holds about 250 MB, and about as much again while it works."""

    def __init__(self, model: Path, threads: int) -> None:
        self._session = _load(model, threads)

    def voice(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The voice in a stream of sound (``engine.VoiceEngine``); lags by at most 12 seconds."""
        analysis, synthesis = Analysis(spleeter_graph.FRAMES), Synthesis()
        received = given = 0
        for block in blocks:
            received += len(block)
            for spectrum in analysis.push(block):
                voice = synthesis.push(self._voice_of(spectrum))
                given += len(voice)
                yield voice
        last = analysis.finish()
        rest = [synthesis.push(self._voice_of(last))] if last is not None else []
        tail = np.concatenate([*rest, synthesis.finish()])[: received - given]
        if len(tail):
            yield tail

    def _voice_of(self, spectrum: Spectrum) -> Spectrum:
        """Mask the spectrum; what lies above the network's bins (16.5 kHz) counts as background."""
        frames = spectrum.shape[1]
        padded = -(-frames // _FRAME_STEP) * _FRAME_STEP
        magnitude = np.zeros((1, 2, padded, spleeter_graph.BINS), np.float32)
        np.abs(spectrum[:, :, : spleeter_graph.BINS], out=magnitude[0, :, :frames])
        (mask,) = self._session.run([spleeter_graph.OUTPUT], {spleeter_graph.INPUT: magnitude})
        voice = np.zeros_like(spectrum)
        np.multiply(
            spectrum[:, :, : spleeter_graph.BINS],
            mask[0, :, :frames],
            out=voice[:, :, : spleeter_graph.BINS],
        )
        return voice


@lru_cache(maxsize=1)
def load_engine(model: Path, threads: int) -> SpleeterEngine:
    """Load the network once per process.

    Args:
        model: The converted weights (``cache.installed_engine``).
        threads: Threads that work on one block; 0 for one per core.

    Raises:
        EngineMissing: onnxruntime is not installed, or the file is damaged.
    """
    return SpleeterEngine(model, threads)


def _load(model: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        message = "The separation engine needs onnxruntime; run: pip install 'voiceseparate-orchestrator[local]'"
        raise EngineMissing(message) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal only: what fails comes as an exception
    # An arena keeps the peak of every shape that it has seen; without it the memory of short and long files is the same.
    options.enable_cpu_mem_arena = False
    # Threads that spin while they wait take the core from the other worker.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no public root class
        message = f"The separation engine's weights cannot be loaded ({model} is damaged); delete it and run: orchestrator fetch-engine"
        raise EngineMissing(message) from error
