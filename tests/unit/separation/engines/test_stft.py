"""The transform that the engine works in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.separation.engines.stft import FRAME, HOP, Analysis, Synthesis

if TYPE_CHECKING:
    from orchestrator.separation.engines.interface import Block

FRAMES = 8


def _there_and_back(sound: Block, block: int) -> Block:
    analysis, synthesis = Analysis(FRAMES), Synthesis()
    parts = [
        synthesis.push(spectrum)
        for start in range(0, max(len(sound), 1), block)
        for spectrum in analysis.push(sound[start : start + block])
    ]
    last = analysis.finish()
    if last is not None:
        parts.append(synthesis.push(last))
    return np.concatenate([*parts, synthesis.finish()])


def _noise(length: int) -> Block:
    return np.random.default_rng(length).standard_normal((length, 2)).astype(np.float32)


@pytest.mark.parametrize(
    "length",
    [0, 1, 100, HOP, FRAME - 1, FRAME, FRAME + 1, FRAMES * HOP, FRAMES * HOP + FRAME, 50_001],
)
@pytest.mark.parametrize("block", [700, 100_000])
def test_sound_comes_back_as_it_was_whatever_its_length_and_blocks(length: int, block: int) -> None:
    """Analysis and synthesis without a change between them give the sound back, at its place."""
    sound = _noise(length)
    back = _there_and_back(sound, block)
    assert len(back) >= length
    np.testing.assert_allclose(back[:length], sound, atol=2e-6)
    np.testing.assert_allclose(back[length:], 0, atol=2e-6)


def test_spectra_do_not_depend_on_how_the_sound_is_cut_into_blocks() -> None:
    """The same sound in small and large blocks gives the same spectra."""
    sound = _noise(30_000)
    whole, pieces = Analysis(FRAMES), Analysis(FRAMES)
    at_once = whole.push(sound)
    bit_by_bit = [
        spectrum
        for start in range(0, 30_000, 333)
        for spectrum in pieces.push(sound[start : start + 333])
    ]
    assert len(at_once) == len(bit_by_bit) == (FRAME + 30_000 - FRAME) // (FRAMES * HOP)
    for one, other in zip(at_once, bit_by_bit, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_spectrum_is_that_of_its_own_frame() -> None:
    """Frame k begins k * 1024 samples after the 4096 silent ones, under a periodic Hann window."""
    sound = _noise(20_000)
    (spectrum, *_) = Analysis(FRAMES).push(sound)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(FRAME) / FRAME)
    expected = np.fft.rfft(sound[HOP : HOP + FRAME, 1] * window)
    np.testing.assert_allclose(spectrum[1, 5], expected, atol=1e-3)
