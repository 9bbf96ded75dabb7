"""Voice and background always add up to the mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.separation.engines.interface import Block, split

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


class Scaling:
    """An engine whose voice is a multiple of the mixture; it lags, and changes the blocks."""

    runtime = "plain NumPy"

    def __init__(self, factor: float, lag: int) -> None:
        self._factor = factor
        self._lag = lag

    def voice(self, blocks: Iterable[Block]) -> Generator[Block, None, None]:
        """Yield the multiple."""
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
    """The stems stay within full scale and add up for any engine, lag and size of blocks."""
    mixture = _mixture(700)
    blocks = (mixture[start : start + step] for start in range(0, 700, step))
    pairs = list(split(Scaling(factor, lag), blocks))
    voice, background = (np.concatenate(stem) for stem in zip(*pairs, strict=True))
    np.testing.assert_allclose(voice + background, mixture, atol=1e-6)
    assert np.abs(voice).max() <= 1
    assert np.abs(background).max() <= 1 + 1e-6


def test_a_voice_within_full_scale_is_not_changed() -> None:
    """The limits only affect samples that would clip."""
    mixture = _mixture(300)
    ((voice, background),) = split(Scaling(0.25, 0), [mixture])
    np.testing.assert_array_equal(voice, mixture * np.float32(0.25))
    np.testing.assert_array_equal(background, mixture - voice)


def test_an_empty_stream_has_no_blocks() -> None:
    """A stream without blocks is not an error."""
    assert list(split(Scaling(1, 0), [])) == []


def test_an_engine_that_returns_too_many_samples_is_an_error() -> None:
    """A defect of the engine must not become silence in the stems."""

    class Doubling:
        runtime = "plain NumPy"

        def voice(self, blocks: Iterable[Block]) -> Generator[Block, None, None]:
            for block in blocks:
                yield np.concatenate([block, block])

    with pytest.raises(ValueError, match="200 samples for 100"):
        list(split(Doubling(), [_mixture(100)]))
