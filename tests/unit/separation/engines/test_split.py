"""Voice and background always add up to the mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.separation.engines.interface import Block, split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Scaling:
    """An engine that says a multiple of the mixture is the voice, and answers late and in other blocks."""

    def __init__(self, factor: float, lag: int) -> None:
        self._factor = factor
        self._lag = lag

    def voice(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The multiple."""
        waiting = np.zeros((0, 2), np.float32)
        for block in blocks:
            waiting = np.concatenate([waiting, block])
            if len(waiting) > self._lag:
                ready = len(waiting) - self._lag
                yield waiting[:ready] * np.float32(self._factor)
                waiting = waiting[ready:]
        if len(waiting):
            yield waiting * np.float32(self._factor)


def _mixture(length: int) -> Block:
    return np.random.default_rng(3).uniform(-1, 1, (length, 2)).astype(np.float32)


@given(factor=st.floats(-3, 3), lag=st.integers(0, 500), step=st.integers(1, 400))
def test_the_sum_is_the_mixture_and_nothing_clips(factor: float, lag: int, step: int) -> None:
    """Whatever the engine says, when and in which blocks: the stems fit full scale and add up, sample by sample."""
    mixture = _mixture(700)
    blocks = (mixture[start : start + step] for start in range(0, 700, step))
    pairs = list(split(Scaling(factor, lag), blocks))
    voice, background = (np.concatenate(stem) for stem in zip(*pairs, strict=True))
    np.testing.assert_allclose(voice + background, mixture, atol=1e-6)
    assert np.abs(voice).max() <= 1
    assert np.abs(background).max() <= 1 + 1e-6


def test_a_voice_that_fits_is_left_as_it_is() -> None:
    """Nothing is moved that does not clip."""
    mixture = _mixture(300)
    ((voice, background),) = split(Scaling(0.25, 0), [mixture])
    np.testing.assert_array_equal(voice, mixture * np.float32(0.25))
    np.testing.assert_array_equal(background, mixture - voice)


def test_no_sound_gives_no_blocks() -> None:
    """An empty stream is separated into nothing."""
    assert list(split(Scaling(1, 0), [])) == []


def test_an_engine_that_gives_too_much_is_found_out() -> None:
    """More samples than came in is a defect of the engine, not silence in the stems."""

    class Doubling:
        def voice(self, blocks: Iterable[Block]) -> Iterator[Block]:
            for block in blocks:
                yield np.concatenate([block, block])

    with pytest.raises(ValueError, match="200 samples for 100"):
        list(split(Doubling(), [_mixture(100)]))
