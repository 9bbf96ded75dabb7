"""The default engine: Deezer's Spleeter 2stems in onnxruntime, 512 frames (12 s) at a time."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from orchestrator.errors import EngineMissing
from orchestrator.separation.engines.stft import Analysis, Synthesis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block
    from orchestrator.separation.engines.stft import Spectrum

FRAMES: Final = 512
"""Frames per block, as in the training."""
BINS: Final = 1536
"""Lowest bins of the spectrum: the network's input, a multiple of 64 (it halves them six times)."""
INPUT: Final = "magnitude"
OUTPUT: Final = "voice_mask"
_FRAME_STEP: Final = 64
"""The network halves the frames six times."""


class SpleeterEngine:
    """A loaded network; it holds about 250 MB, and as much again while it works."""

    def __init__(self, session: Any) -> None:
        self._session = session

    def voice(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Yield the voice of a stream, at most 12 seconds late (see ``interface.VoiceEngine``)."""
        analysis, synthesis = Analysis(FRAMES), Synthesis()
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
        """Mask the spectrum; bins above the network's (16.5 kHz) count as background."""
        frames = spectrum.shape[1]
        padded = -(-frames // _FRAME_STEP) * _FRAME_STEP
        magnitude = np.zeros((1, 2, padded, BINS), np.float32)
        np.abs(spectrum[:, :, :BINS], out=magnitude[0, :, :frames])
        (mask,) = self._session.run([OUTPUT], {INPUT: magnitude})
        voice = np.zeros_like(spectrum)
        np.multiply(spectrum[:, :, :BINS], mask[0, :, :frames], out=voice[:, :, :BINS])
        return voice


@lru_cache(maxsize=1)
def load_engine(model: Path, threads: int) -> SpleeterEngine:
    """Load the network once per process.

    Args:
        model: The converted weights (``cache.installed_engine``).
        threads: Threads that work on one block; 0 means one per core.

    Raises:
        EngineMissing: onnxruntime is not installed, or the file is damaged.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineMissing(
            "The separation engine needs onnxruntime; "
            "run: pip install 'voiceseparate-orchestrator[local]'"
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal only: errors are raised as exceptions
    # An arena keeps the peak of every shape that it has seen. Without it, short and long files
    # need the same memory.
    options.enable_cpu_mem_arena = False
    # Threads that spin while they wait take the core from the other worker.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no public root class
        raise EngineMissing(
            f"The separation engine's weights cannot be loaded ({model} is damaged); "
            "delete it and run: orchestrator fetch-engine"
        ) from error
    return SpleeterEngine(session)
