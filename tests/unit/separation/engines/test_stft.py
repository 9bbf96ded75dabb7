"""The engine's transform and its inverse."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.separation.engines.stft import FRAME, HOP, Analysis, Synthesis

if TYPE_CHECKING:
    from orchestrator.separation.engines.interface import Block

FRAMES = 8


def _transformed_and_restored(sound: Block, block: int) -> Block:
    analysis, synthesis = Analysis(FRAMES), Synthesis()
    parts = [
        synthesis.push(spectrum)
        for start in range(0, max(len(sound), 1), block)
        for spectrum in analysis.push(sound[start : start + block])
    ]
    parts += [synthesis.push(spectrum) for spectrum in analysis.finish()]
    return np.concatenate([*parts, synthesis.finish()])


def _noise(length: int) -> Block:
    return np.random.default_rng(length).standard_normal((length, 2)).astype(np.float32)


@pytest.mark.parametrize(
    "length",
    [0, 1, 100, HOP, FRAME - 1, FRAME, FRAME + 1, FRAMES * HOP, FRAMES * HOP + FRAME, 50_001],
)
@pytest.mark.parametrize("block", [700, 100_000])
def test_the_inverse_restores_sound_of_any_length_in_any_blocks(length: int, block: int) -> None:
    """Analysis and synthesis restore the sound at its position."""
    sound = _noise(length)
    back = _transformed_and_restored(sound, block)
    assert len(back) >= length
    np.testing.assert_allclose(back[:length], sound, atol=2e-6)
    np.testing.assert_allclose(back[length:], 0, atol=2e-6)


def test_the_spectra_do_not_depend_on_the_size_of_the_blocks() -> None:
    """Small and large blocks of the same sound give the same spectra."""
    sound = _noise(30_000)
    whole, pieces = Analysis(FRAMES), Analysis(FRAMES)
    at_once = list(whole.push(sound))
    in_pieces = [
        spectrum
        for start in range(0, 30_000, 333)
        for spectrum in pieces.push(sound[start : start + 333])
    ]
    assert len(at_once) == len(in_pieces) == (FRAME + 30_000 - FRAME) // (FRAMES * HOP)
    for one, other in zip(at_once, in_pieces, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_frame_starts_at_its_own_position() -> None:
    """After 4096 silent samples, a frame starts every 1024, with a periodic Hann window."""
    sound = _noise(20_000)
    (spectrum, *_) = Analysis(FRAMES).push(sound)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    expected = np.fft.rfft(sound[HOP : HOP + FRAME, 1] * window)
    np.testing.assert_allclose(spectrum[1, 5], expected, atol=1e-3)
