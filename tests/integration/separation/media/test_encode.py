"""Stems are written in every format of the vendor, and read back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.domain.audio_formats import CODECS
from orchestrator.separation.formats import OutputFormat
from orchestrator.separation.media.encode import StemWriter
from orchestrator.separation.media.probe import probe_file

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.separation.conftest import Media

SECONDS = 0.7
CODEC_NAMES = {"aac": "aac", "mp3": "mp3", "flac": "flac", "amr": "amr_nb", "wav": "pcm_s16le"}
LAYOUTS = {1: "mono", 2: "stereo", 4: "4.0", 5: "5.0", 6: "5.1", 8: "7.1"}
MOST_EXTRA_SAMPLES = {"aac": 3 * 1024, "amr": 2 * 160, "mp3": 1, "flac": 1, "wav": 1}
"""At the file's rate. Bare AAC and AMR streams do not state where the sound begins and ends; the
other formats are exact except for rounding."""


def _delay(sound: np.ndarray, decoded: np.ndarray) -> int:
    """Return the lag of the decoded left channel, in samples."""
    size = 1 << (len(sound) + len(decoded)).bit_length()
    product = np.fft.rfft(decoded[:, 0], size) * np.conj(np.fft.rfft(sound[:, 0], size))
    at = int(np.argmax(np.fft.irfft(product)))
    return at if at < size // 2 else at - size


@pytest.mark.slow
@pytest.mark.parametrize("codec", CODECS)
def test_every_combination_is_written_and_read_back(
    codec: str, media: Media, tmp_path: Path
) -> None:
    """Codec, rate, channels, layout, length and position of the sound are right."""
    sound = media.tones(SECONDS)
    rule = CODECS[codec]
    for rate in rule.samplerates_hz:
        for channels in rule.channels:
            path = media.encode(
                tmp_path / "stem.tmp",
                sound,
                codec,
                rate,
                channels,
                {"aac": 80, "mp3": 96, "amr": 12}.get(codec, 0) * channels,
            )
            (stream,) = probe_file(path, SECONDS).audio
            found = (
                stream.codec_name,
                stream.sample_rate_hz,
                stream.channels,
                stream.channel_layout,
            )
            assert found == (CODEC_NAMES[codec], rate, channels, LAYOUTS[channels])
            decoded = media.decode(path)
            extra = (len(decoded) - len(sound)) * rate / 44100
            assert -1.5 <= extra <= MOST_EXTRA_SAMPLES[codec] + 0.5, (rate, channels)
            delay = _delay(sound, decoded) * rate / 44100
            assert delay == pytest.approx({"aac": 1024, "amr": 40}.get(codec, 0), abs=2), (
                rate,
                channels,
            )


@pytest.mark.parametrize(
    ("codec", "asked_kbps", "rate", "channels", "got_kbps"),
    [
        ("mp3", 8, 44100, 2, 32),
        ("mp3", 1000, 44100, 2, 320),
        ("mp3", 150, 44100, 2, 160),
        ("mp3", 1000, 22050, 1, 160),
        ("amr", 8, 8000, 1, 8.4),
        ("amr", 64, 8000, 1, 12.8),  # 12.2, and one byte of header per frame
    ],
)
def test_a_bitrate_is_clamped(
    codec: str,
    asked_kbps: int,
    rate: int,
    channels: int,
    got_kbps: float,
    media: Media,
    tmp_path: Path,
) -> None:
    """The encoder uses its nearest bitrate; none is refused."""
    path = media.encode(tmp_path / "stem.tmp", media.tones(5), codec, rate, channels, asked_kbps)
    assert probe_file(path, 5.0).bitrate_kbps == pytest.approx(got_kbps, rel=0.06)


@pytest.mark.parametrize("asked_kbps", [8, 1000])
@pytest.mark.parametrize("rate", [11025, 44100, 96000])
@pytest.mark.parametrize("channels", [1, 8])
def test_aac_accepts_any_bitrate(
    asked_kbps: int, rate: int, channels: int, media: Media, tmp_path: Path
) -> None:
    """The lowest and highest bitrates work with the lowest and highest rates and channel counts."""
    path = media.encode(tmp_path / "stem.tmp", media.tones(1), "aac", rate, channels, asked_kbps)
    assert len(media.decode(path)) > 44100


@pytest.mark.parametrize("length", [0, 1, 100, 4095])
@pytest.mark.parametrize("codec", CODECS)
def test_the_shortest_sounds_are_written(
    codec: str, length: int, media: Media, tmp_path: Path
) -> None:
    """A file of any codec may be almost empty."""
    for rate in {CODECS[codec].samplerates_hz[0], 44100, CODECS[codec].samplerates_hz[-1]} & {
        *CODECS[codec].samplerates_hz
    }:
        path = media.encode(tmp_path / "stem.tmp", media.tones(1)[:length], codec, rate, 1, 32)
        assert len(media.decode(path)) >= length
        if codec in {"flac", "wav"} and rate == 44100 and length:
            assert len(media.decode(path)) == length


def test_a_doubled_mono_sound_is_restored_exactly(media: Media, tmp_path: Path) -> None:
    """One channel becomes two and one again without a change of level, to the last of 16 bits."""
    mono = np.repeat(np.round(media.tones(0.5)[:, :1] * 32768) / 32768, 2, axis=1).astype(
        np.float32
    )
    back = media.decode(media.encode(tmp_path / "mono.wav", mono, "wav", 44100, 1))
    np.testing.assert_array_equal(back, mono)


def test_many_channels_are_mixed_down_without_clipping(media: Media, tmp_path: Path) -> None:
    """Full scale on six channels is full scale on two."""
    loud = np.sign(media.tones(0.5)) * np.float32(0.99)
    six = media.decode(media.encode(tmp_path / "six.wav", loud, "wav", 44100, 6))
    assert np.abs(six).max() <= 1
    assert _delay(loud, six) == 0


def test_an_abandoned_file_can_be_overwritten(media: Media, tmp_path: Path) -> None:
    """An abandoned writer closes its file."""
    writer = StemWriter(tmp_path / "stem", OutputFormat("flac", 44100, 2, 0))
    writer.write(media.tones(0.1))
    writer.abandon()
    assert media.encode(tmp_path / "stem", media.tones(0.1), "flac").exists()
