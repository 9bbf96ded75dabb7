"""Decode a file, and find the sound in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.separation.errors import SeparationFailed
from orchestrator.separation.media.container import open_media
from orchestrator.separation.media.decode import Decoder

if TYPE_CHECKING:
    from pathlib import Path

    from orchestrator.separation.engines.interface import Block

RATE = 44100
_WINDOW = 220


@dataclass(frozen=True)
class Heard:
    """The sound of a file, and what the decoder notes about it."""

    sound: Block
    notes: str
    channels: int
    scale: float

    @property
    def length_s(self) -> float:
        """Length in seconds."""
        return len(self.sound) / RATE

    def parts(self, level: float = 0.02) -> list[tuple[float, float]]:
        """Return beginning and end of the loud parts, to 5 ms."""
        count = len(self.sound) // _WINDOW
        windows = np.abs(self.sound[: count * _WINDOW, 0]).reshape(count, _WINDOW).max(axis=1)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], windows > level, [0]]).astype(int)))
        seconds = [float(edge) * _WINDOW / RATE for edge in edges]
        return list(zip(seconds[::2], seconds[1::2], strict=True))


def hear(path: Path) -> Heard:
    """Decode a whole file."""
    with open_media(path) as container:
        decoder = Decoder(path, container)
        sound = np.concatenate(list(decoder.blocks()))
        return Heard(sound, " ".join(decoder.notes), decoder.channels, decoder.scale)


def refusal(path: Path) -> str:
    """Return the message of a file that is refused as unusable."""
    with pytest.raises(SeparationFailed) as failed:
        hear(path)
    assert failed.value.code == "ResourceNotSupported"
    return failed.value.message
