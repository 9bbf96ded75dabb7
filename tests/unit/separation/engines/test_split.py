"""Voice and background always add up to the mixture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.spec import Stem
from orchestrator.separation.engines.interface import Block, Stems, split
from orchestrator.separation.errors import WrongLength

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable


class Scaling:
    """An engine whose voice is a multiple of the mixture; it lags, and changes the blocks."""

    runtime = "plain NumPy"

    def __init__(self, factor: float, lag: int) -> None:
        self._factor = factor
        self._lag = lag

    stems: tuple[Stem, ...] = (Stem.VOICE,)

    def separate(self, blocks: Iterable[Block]) -> Generator[Stems, None, None]:
        """Yield the multiple."""
        waiting = np.zeros((0, 2), np.float32)
        for block in blocks:
            waiting = np.concatenate([waiting, block])
            if len(waiting) > self._lag:
                ready = len(waiting) - self._lag
                yield {Stem.VOICE: waiting[:ready] * np.float32(self._factor)}
                waiting = waiting[ready:]
        if len(waiting):
            yield {Stem.VOICE: waiting * np.float32(self._factor)}


def _mixture(length: int) -> Block:
    return np.random.default_rng(3).uniform(-1, 1, (length, 2)).astype(np.float32)


@given(factor=st.floats(-3, 3), lag=st.integers(0, 500), step=st.integers(1, 400))
def test_the_sum_is_the_mixture_and_nothing_clips(factor: float, lag: int, step: int) -> None:
    """The stems stay within full scale and add up for any engine, lag and size of blocks."""
    mixture = _mixture(700)
    blocks = (mixture[start : start + step] for start in range(0, 700, step))
    pairs = list(split(Scaling(factor, lag), blocks))
    voice, background = (
        np.concatenate([pair[stem] for pair in pairs]) for stem in (Stem.VOICE, Stem.BACKGROUND)
    )
    np.testing.assert_allclose(voice + background, mixture, atol=1e-6)
    assert np.abs(voice).max() <= 1
    assert np.abs(background).max() <= 1 + 1e-6


def test_a_voice_within_full_scale_is_not_changed() -> None:
    """The limits only affect samples that would clip."""
    mixture = _mixture(300)
    (stems,) = split(Scaling(0.25, 0), [mixture])
    np.testing.assert_array_equal(stems[Stem.VOICE], mixture * np.float32(0.25))
    np.testing.assert_array_equal(stems[Stem.BACKGROUND], mixture - stems[Stem.VOICE])


def test_an_empty_stream_has_no_blocks() -> None:
    """A stream without blocks is not an error."""
    assert list(split(Scaling(1, 0), [])) == []


def test_an_engine_that_returns_too_many_samples_is_an_error() -> None:
    """A defect of the engine must not become silence in the stems."""

    class Doubling:
        runtime = "plain NumPy"
        stems: tuple[Stem, ...] = (Stem.VOICE,)

        def separate(self, blocks: Iterable[Block]) -> Generator[Stems, None, None]:
            for block in blocks:
                yield {Stem.VOICE: np.concatenate([block, block])}

    with pytest.raises(WrongLength, match="100 samples more than it received"):
        list(split(Doubling(), [_mixture(100)]))


@pytest.mark.parametrize("given", [0, 1])
def test_an_engine_that_ends_too_early_is_an_error(given: int) -> None:
    """Stems that are shorter than the sound would look like good ones."""

    class Lazy:
        runtime = "plain NumPy"
        stems: tuple[Stem, ...] = (Stem.VOICE,)

        def separate(self, blocks: Iterable[Block]) -> Generator[Stems, None, None]:
            for number, block in enumerate(blocks):
                if number == given:
                    return
                yield {Stem.VOICE: block}

    with pytest.raises(WrongLength, match="ended before the sound did"):
        list(split(Lazy(), [_mixture(100), _mixture(100)]))


@given(
    factors=st.tuples(st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3)),
    level=st.floats(0.1, 1),
)
def test_four_stems_add_up_and_none_clips(
    factors: tuple[float, float, float], level: float
) -> None:
    """Whatever an engine finds for voice, bass and drums, the rest makes the sum right."""
    parts = (Stem.VOICE, Stem.BASS, Stem.DRUMS)

    class Three:
        runtime = "plain NumPy"
        stems: tuple[Stem, ...] = parts

        def separate(self, blocks: Iterable[Block]) -> Generator[Stems, None, None]:
            for block in blocks:
                yield {
                    stem: np.roll(block, place, axis=0) * np.float32(factor)
                    for place, (stem, factor) in enumerate(zip(parts, factors, strict=True))
                }

    mixture = _mixture(400) * np.float32(level)
    (stems,) = split(Three(), [mixture], parts)
    assert set(stems) == {*parts, Stem.BACKGROUND}
    np.testing.assert_allclose(sum(stems.values()), mixture, atol=2e-6)
    assert max(float(np.abs(block).max()) for block in stems.values()) <= 1 + 2e-6
