"""Samples that are larger than the bits that they use."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.integration.separation.media.listen import RATE, hear, refusal
from tests.sound_files import Track, tone, write_film

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SOUND = tone(1)
SAMPLES = np.round(SOUND[0] * 2.0**31).astype("<i4")


def plain_wave(path: Path, samples: npt.NDArray[np.int32 | np.float32], bits: int = 24) -> Path:
    """Write a wave file without an extension: some bits in four bytes."""
    form = struct.pack("<HHIIHH", 1, 1, RATE, 4 * RATE, 4, bits)
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data"
    body += struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


def caf(path: Path, samples: npt.NDArray[np.int32]) -> Path:
    """Write a CAF file of 24 bits in four bytes."""
    form = struct.pack(">d4sIIIII", float(RATE), b"lpcm", 0, 4, 1, 1, 24)
    data = samples.astype(">i4").tobytes()
    head = b"caff\0\1\0\0desc" + struct.pack(">q", len(form)) + form
    path.write_bytes(head + b"data" + struct.pack(">qI", len(data) + 4, 0) + data)
    return path


def assert_heard(path: Path, bits: int) -> None:
    heard = hear(path)
    assert len(heard.sound) == pytest.approx(RATE, abs=1)  # w64 pads the sound to 8 bytes
    assert np.abs(heard.sound[:RATE, 0] - SOUND[0]).max() < 2.0 ** (2 - bits)
    assert heard.notes == ""


@pytest.mark.parametrize("ext", ["wav", "w64", "avi"])
@pytest.mark.parametrize(
    ("codec", "bits"),
    [("pcm_s32le", 24), ("pcm_s32le", 20), ("pcm_s32le", 16), ("pcm_s24le", 16)],
)
def test_samples_may_be_larger_than_their_bits(
    ext: str, codec: str, bits: int, tmp_path: Path
) -> None:
    """The header states bits and bytes, and the bits stand at the upper end of the bytes."""
    path = write_film(tmp_path / f"sound.{ext}", Track([(0, SOUND)], codec))
    content = bytearray(path.read_bytes())
    form = content.index(b"\xfe\xff\x01\x00" + struct.pack("<I", RATE))
    assert content[form + 18] in {24, 32}
    content[form + 18] = bits
    path.write_bytes(content)
    assert_heard(path, 16)


@pytest.mark.parametrize("is_upper", [True, False])
def test_mov_samples_may_be_larger_than_their_bits(is_upper: bool, tmp_path: Path) -> None:
    """The description of the sound says at which end the bits stand."""
    sound = tone(1, rate=96000)
    path = tmp_path / "sound.mov"
    write_film(path, Track([(0, sound)], "pcm_s32be", rate=96000))
    content = bytearray(path.read_bytes())
    form = content.index(b"lpcm") - 4
    assert content[form + 59] == 32
    content[form + 59] = 24
    content[form + 63] = 2 | 4 | (16 if is_upper else 0)
    path.write_bytes(content)
    if is_upper:
        heard = hear(path)
        assert len(heard.sound) == pytest.approx(RATE, abs=1)
        assert np.abs(heard.sound).max() == pytest.approx(0.3, abs=0.01)
    else:
        assert "lower bits" in refusal(path)


def test_plain_samples_may_be_larger_than_their_bits(tmp_path: Path) -> None:
    """Without an extension the samples show which bits are used."""
    assert_heard(plain_wave(tmp_path / "upper.wav", SAMPLES >> 8 << 8), 24)
    assert_heard(plain_wave(tmp_path / "upper-16.wav", SAMPLES >> 16 << 16, 16), 16)
    assert_heard(caf(tmp_path / "upper.caf", SAMPLES >> 8 << 8), 24)
    floats = (SOUND[0] * 2.0**23).astype(np.float32)
    assert_heard(plain_wave(tmp_path / "cool-edit.wav", floats), 24)


def test_bits_at_the_lower_end_are_refused(tmp_path: Path) -> None:
    """Read as they are, they would be 48 dB too quiet."""
    assert "lower bits" in refusal(plain_wave(tmp_path / "lower.wav", SAMPLES >> 8))
    assert "lower bits" in refusal(caf(tmp_path / "lower.caf", SAMPLES >> 8))
