"""Any number of channels becomes one or two, by a documented matrix that cannot clip."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.separation.errors import SeparationFailed
from orchestrator.separation.media.mixdown import Mix, Mixer, mix_for

NAMED = [
    *("2.1", "3.0", "quad", "5.0", "5.1", "6.1", "7.1", "cube", "5.1.4", "7.1.4", "9.1.6"),
    *("hexadecagonal", "22.2", "7.2.3", "octagonal", "6.0(front)", "7.1(wide)"),
]


def mix(layout: str) -> Mix:
    parsed = av.AudioLayout(layout)
    return mix_for(parsed.name, tuple(channel.name for channel in parsed.channels))


def frame(layout: str, sound: npt.NDArray[Any], form: str = "flt") -> av.AudioFrame:
    """Return a frame of sound of shape (samples, channels)."""
    made = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(sound).reshape(1, -1), format=form, layout=layout
    )
    made.sample_rate = 48000
    return made


@pytest.mark.parametrize("layout", NAMED)
def test_every_channel_of_a_named_layout_is_heard(layout: str) -> None:
    """No channel is lost except low-frequency effects, and no output can exceed full scale."""
    found = mix(layout)
    channels = av.AudioLayout(layout).channels
    assert found.matrix is not None
    assert found.matrix.shape == (2, len(channels))
    assert found.matrix.sum(axis=1).max() <= 1 + 1e-6
    assert not found.note
    lost = {
        channel.name
        for channel, gains in zip(channels, found.matrix.T, strict=True)
        if not gains.any()
    }
    assert all(name.startswith("LFE") for name in lost)


def test_5_1_is_mixed_as_broadcasters_do() -> None:
    """Center and surround are 3 dB lower than the front, as in ITU-R BS.775."""
    matrix = mix("5.1").matrix
    assert matrix is not None
    half = 0.5**0.5
    rows = np.array([[1, 0, half, 0, half, 0], [0, 1, half, 0, 0, half]]) / (1 + 2 * half)
    assert matrix == pytest.approx(rows)


def test_left_and_right_do_not_cross() -> None:
    """A channel on the left is heard on the left only."""
    for layout in ("5.1", "7.1.4", "22.2"):
        found = mix(layout)
        assert found.matrix is not None
        for channel, (left, right) in zip(
            av.AudioLayout(layout).channels, found.matrix.T, strict=True
        ):
            if channel.name in {"FL", "BL", "SL", "TFL", "FLC"}:
                assert left > 0
                assert right == 0


@pytest.mark.parametrize("count", [3, 4, 5, 7, 9, 10, 16, 24, 60])
def test_an_unknown_layout_becomes_its_mean(count: int) -> None:
    """Where no channel has a name, all of them count alike, and the result says so."""
    found = mix(f"{count} channels")
    assert found.matrix is not None
    assert found.matrix == pytest.approx(np.full((1, count), 1 / count))
    assert found.channels == 1
    assert "mean" in found.note


def test_six_and_eight_channels_without_names_have_the_order_of_wave_files() -> None:
    """A wave file of six channels is 5.1, with or without a mask."""
    for count, layout in ((6, "5.1"), (8, "7.1")):
        bare, named = mix(f"{count} channels").matrix, mix(layout).matrix
        assert bare is not None
        assert named is not None
        assert bare == pytest.approx(named)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_ambisonic_sound_becomes_its_w_channel(order: int) -> None:
    """The first channel holds the sound of all directions."""
    found = mix(f"ambisonic {order}")
    assert found.matrix is not None
    assert found.matrix[0, 0] == 1
    assert found.matrix[0, 1:].max() == 0
    assert found.channels == 1
    assert "W channel" in found.note


def test_one_and_two_channels_stay_as_they_are() -> None:
    """Also where the names are unusual."""
    for layout in ("mono", "stereo", "downmix", "binaural", "TFL+TFR", "1 channels", "LFE"):
        assert mix(layout).matrix is None


@pytest.mark.parametrize("form", ["flt", "dbl"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e30])
def test_a_sample_without_a_value_is_0(form: str, bad: float) -> None:
    """NaN, Inf and impossible values count as 0 in their own channel, and are counted."""
    sound = np.full((100, 3), 0.3).astype(np.float32 if form == "flt" else np.float64)
    sound[40, 1] = bad
    mixer = Mixer(frame("3 channels", sound, form))
    mixed = mixer.mixed(frame("3 channels", sound, form))
    assert mixer.invalid == 1
    assert mixed[0, 39] == pytest.approx(0.3)
    assert mixed[0, 40] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("form", "dtype", "full"),
    [
        ("u8", np.uint8, 128),
        ("s16", np.int16, 32768),
        ("s32", np.int32, 2**31),
        ("flt", np.float32, 1),
        ("dbl", np.float64, 1),
    ],
)
def test_every_sample_format_has_the_same_full_scale(form: str, dtype: type, full: int) -> None:
    """Half of full scale is 0.5 in each of them."""
    offset = 128 if form == "u8" else 0
    sound: npt.NDArray[Any] = np.full((50, 2), full * 0.5 + offset).astype(dtype)
    given_in = frame("stereo", sound, form)
    assert Mixer(given_in).mixed(given_in) == pytest.approx(np.full((2, 50), 0.5))


@pytest.mark.parametrize("count", [8, 9, 16, 60])
def test_frames_of_many_planes_are_read(count: int) -> None:
    """A frame with eight planes or more is packed first; reading its planes would crash."""
    sound = np.tile(np.arange(1, count + 1, dtype=np.float32) / 100, (64, 1))
    packed = frame(f"{count} channels", sound)
    (planar,) = av.AudioResampler(format="fltp").resample(packed)
    mixed = Mixer(planar).mixed(planar)
    expected = Mixer(packed).mixed(packed)
    assert mixed == pytest.approx(expected)


def test_more_planes_than_can_be_packed_are_refused() -> None:
    """The sentence names the number of channels."""
    planar = av.AudioFrame(format="fltp", layout="100 channels", samples=16)
    planar.sample_rate = 48000
    with pytest.raises(SeparationFailed, match="100 channels"):
        Mixer(planar)


@given(st.integers(3, 64), st.integers(0, 2**32 - 1))
def test_no_mix_can_exceed_full_scale(count: int, seed: int) -> None:
    """Whatever full-scale sound the channels hold."""
    sound = np.sign(np.random.default_rng(seed).standard_normal((16, count))).astype(np.float32)
    given_in = frame(f"{count} channels", sound)
    assert np.abs(Mixer(given_in).mixed(given_in)).max() <= 1 + 1e-5
