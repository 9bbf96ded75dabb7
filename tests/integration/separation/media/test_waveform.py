"""Outlines of real files follow their sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.separation.errors import SeparationFailed
from orchestrator.separation.media.waveform import STEPS, waveform
from tests.sound_files import Track, tone, write_film

if TYPE_CHECKING:
    from pathlib import Path


def pairs(path: Path) -> np.ndarray:
    return np.frombuffer(waveform(path), np.int8).reshape(-1, 2)


def test_a_loud_second_half_has_a_larger_outline(tmp_path: Path) -> None:
    sound = np.concatenate([tone(2, level=0.1), tone(2, level=0.8)], axis=1)
    found = pairs(write_film(tmp_path / "a.wav", Track([(0, sound)])))

    assert found.shape == (STEPS, 2)
    quiet, loud = found[5 : STEPS // 2 - 5], found[STEPS // 2 + 5 : -5]
    assert np.allclose(quiet, [-0.1 * 127, 0.1 * 127], atol=3)
    assert np.allclose(loud, [-0.8 * 127, 0.8 * 127], atol=3)


def test_a_sound_that_is_shorter_than_the_outline_has_one(tmp_path: Path) -> None:
    found = pairs(write_film(tmp_path / "a.wav", Track([(0, tone(0.01, level=0.5))])))

    assert found.shape == (STEPS, 2)
    assert found.max() == pytest.approx(64, abs=3)


def test_a_file_that_is_not_a_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("not a sound")

    with pytest.raises(SeparationFailed):
        waveform(tmp_path / "a.txt")
