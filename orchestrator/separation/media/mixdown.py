"""Decoded frames to one or two channels of float samples.

One channel and two channels stay as they are. More are mixed down by the matrix of ``mix_for``,
whose rows are scaled so that nothing can clip.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import av
import numpy as np
import numpy.typing as npt

from orchestrator.domain.wording import counted
from orchestrator.separation.errors import RESOURCE_NOT_SUPPORTED, SeparationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from av.audio.frame import AudioFrame

    from orchestrator.separation.engines.interface import Block

Planes: TypeAlias = npt.NDArray[np.float32]
"""Sound: shape ``(channels, samples)``, full scale at 1.0."""

_LOUDEST: Final = 2.0**31
"""Samples beyond it (186 dB over full scale) cannot be sound; some programs write floats in the
range of 32-bit integers, but none goes further."""
_MOST_PLANES: Final = 7
"""PyAV reads the planes of frames with fewer than eight channels only; others are packed first."""
_MOST_PACKED: Final = 64
"""Channels that FFmpeg can pack."""
_LOST: Final = 1e-4
"""Power after a mix-down, compared with that before (-40 dB), that counts as silence."""
_HALF: Final = 2**-0.5
_FRONT: Final = {"FL", "FR", "DL", "DR", "BIL", "BIR", "FLC", "FRC"}
_LEFT, _RIGHT = {"FLC"}, {"FRC"}
_NO_NAME: Final = re.compile(r"(NONE|UNK|USR|AMBI)\d*$")
_BY_COUNT: Final = {
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}
"""Order of the channels of files that state their number only: that of wave files."""


@dataclass(frozen=True, slots=True)
class Mix:
    """A mix-down.

    Attributes:
        matrix: Shape ``(outputs, inputs)``; None: the channels stay as they are.
        channels: Channels of the result as far as the default of an output is concerned.
        note: Sentence about it; empty if it is the usual one.
    """

    matrix: npt.NDArray[np.float32] | None
    channels: int
    note: str = ""


def mix_for(layout: str, names: tuple[str, ...]) -> Mix:
    """Return the mix-down of a layout.

    Args:
        layout: FFmpeg's name of the layout.
        names: FFmpeg's names of the channels.
    """
    count = len(names)
    if count <= 2:
        return Mix(None, count)
    if layout.startswith("ambisonic"):
        matrix = np.zeros((1, count), np.float32)
        matrix[0, 0] = 1
        return Mix(matrix, 1, "The sound is ambisonic; its W channel (all directions) was used.")
    if all(_NO_NAME.match(name) for name in names):
        names = _BY_COUNT.get(count, names)
    gains = [_gains(name) for name in names]
    if any(gain is None for gain in gains) or not any(gain and any(gain) for gain in gains):
        return Mix(
            np.full((1, count), 1 / count, np.float32),
            1,
            f"The layout of the {count} channels is not known; their mean was used.",
        )
    matrix = np.array(gains, np.float32).T
    return Mix(matrix / max(1.0, float(matrix.sum(axis=1).max())), count)


def _gains(name: str) -> tuple[float, float] | None:
    """Return the gains left and right of a channel; None if its position is not known."""
    if _NO_NAME.match(name):
        return None
    if name.startswith("LFE"):
        return 0.0, 0.0
    gain = 1.0 if name in _FRONT else _HALF
    if name in _LEFT or name.endswith("L"):
        return gain, 0.0
    if name in _RIGHT or name.endswith("R"):
        return 0.0, gain
    if name.endswith("C"):
        gain = _HALF if name == "FC" else 0.5
        return gain, gain
    return None


class _Balance:
    """Power of a sound before and after its channels were added."""

    def __init__(self) -> None:
        self._before = self._after = 0.0

    def add(self, before: Planes, after: Planes) -> None:
        """Count a piece of sound, each of shape ``(channels, samples)``."""
        self._before += _power(before)
        self._after += _power(after)

    @property
    def is_lost(self) -> bool:
        """True if there was sound, and almost nothing is left of it."""
        return self._after < _LOST * self._before


def _power(planes: Planes) -> float:
    flat = np.ravel(planes)
    return float(np.dot(flat, flat)) / max(len(planes), 1)


class Mixer:
    """Converter of frames of one format to one or two channels.

    Attributes:
        mix: The mix-down.
        rate_hz: Sample rate.
        invalid: Number of samples that had no valid value, and count as 0.
        peak: Largest sample of a float format, after the mix-down; 1 for others.
        balance: Power before and after the mix-down.
    """

    def __init__(self, frame: AudioFrame, *, is_checked: bool = False) -> None:
        """Take the format of the first frame.

        Args:
            frame: The frame.
            is_checked: The sound was read before, and all samples are valid.
        """
        layout = frame.layout
        self._checks = not is_checked and not frame.format.name.startswith(("s", "u"))
        self._kind = _kind(frame)
        self.mix = mix_for(layout.name, tuple(channel.name for channel in layout.channels))
        self.rate_hz = frame.sample_rate
        self.invalid = 0
        self.peak = 1.0
        self.balance = _Balance()
        self._packer: av.AudioResampler | None = None
        if frame.format.is_planar and layout.nb_channels > _MOST_PLANES:
            if layout.nb_channels > _MOST_PACKED:
                raise SeparationFailed(
                    RESOURCE_NOT_SUPPORTED,
                    f"The input's sound has {layout.nb_channels} channels; at most "
                    f"{_MOST_PACKED} can be read with this codec. Mix it down, for example to "
                    "stereo.",
                )
            self._packer = av.AudioResampler(format=frame.format.packed.name)

    def fits(self, frame: AudioFrame) -> bool:
        """Return True if the frame has this format."""
        return _kind(frame) == self._kind

    def mixed(self, frame: AudioFrame) -> Planes:
        """Return a frame's sound; NaN, Inf and impossible values count as 0."""
        if self._packer is not None:
            (frame,) = self._packer.resample(frame)
        planes = _floats(frame)
        if self._checks:
            planes = self._valid(planes)
        if self.mix.matrix is None:
            return planes
        mixed: Planes = self.mix.matrix @ planes
        self.balance.add(planes, mixed)
        if self._checks:
            self.peak = max(self.peak, _peak(mixed))
        return mixed

    @property
    def notes(self) -> list[str]:
        """Sentences about the mix-down."""
        notes = [self.mix.note] if self.mix.note else []
        if self.balance.is_lost:
            notes.append(
                "Almost nothing is left of the sound after its channels were mixed down: they "
                "cancel each other out, or hold low-frequency effects only."
            )
        return notes

    def _valid(self, planes: Planes) -> Planes:
        peak = _peak(planes)
        if not peak <= _LOUDEST:  # NaN is not
            bad = ~(np.abs(planes) <= _LOUDEST)
            self.invalid += int(bad.sum())
            planes = np.where(bad, np.float32(0), planes)
            peak = _peak(planes)
        if self.mix.matrix is None and peak > self.peak:
            self.peak = peak
        return planes


def _peak(planes: Planes) -> float:
    """Return the largest sample; NaN if there is one."""
    return float(np.maximum(planes.max(), -planes.min())) if planes.size else 0.0


def _floats(frame: AudioFrame) -> Planes:
    """Return the samples of a frame as floats, whatever their format."""
    array = frame.to_ndarray()
    if frame.format.is_packed:
        array = array.reshape(-1, frame.layout.nb_channels).T
    if array.dtype == np.float32:
        return array.astype(np.float32, copy=False)
    if array.dtype.kind == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite
            return array.astype(np.float32, copy=False)
    if array.dtype == np.uint8:
        return (array.astype(np.float32) - np.float32(128)) * np.float32(2**-7)
    scale = np.float32(2.0 ** (1 - 8 * array.dtype.itemsize))
    return array.astype(np.float32) * scale


def _kind(frame: AudioFrame) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def notes_on_mix(mixers: Iterable[Mixer], scale: float) -> list[str]:
    """Return the sentences about channels and samples.

    Args:
        mixers: The mixers of all parts.
        scale: Factor of all samples.
    """
    mixers = list(mixers)
    notes = [note for mixer in mixers for note in mixer.notes]
    if invalid := sum(mixer.invalid for mixer in mixers):
        notes.append(
            f"{counted(invalid, 'sample')} of the input had no valid value (NaN or infinite) and "
            "became 0."
        )
    if scale < 1:
        lower_db = -20 * math.log10(scale)
        notes.append(
            f"The input exceeds full scale by {lower_db:.1f} dB: all stems were multiplied by "
            f"{scale:.4g}, so that none is clipped. They add up to the input times that."
        )
    return notes


class MonoCheck:
    """Watches if left and right cancel each other out where the stems have one channel."""

    def __init__(self) -> None:
        self._balance = _Balance()

    def watched(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Pass the blocks on."""
        for block in blocks:
            self._balance.add(block.T, block.mean(axis=1, keepdims=True).T)
            yield block

    @property
    def notes(self) -> list[str]:
        """A sentence if almost nothing is left."""
        if not self._balance.is_lost:
            return []
        note = (
            "Left and right of the input cancel each other out (one is the other, inverted), so "
            "the stems of one channel are almost silent; choose 2 channels."
        )
        return [note]
