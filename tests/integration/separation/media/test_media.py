"""Everyday media files are read; bad ones are refused with a helpful sentence."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

from orchestrator.separation.errors import SeparationFailed
from orchestrator.separation.media.container import open_media
from orchestrator.separation.media.decode import Decoder
from orchestrator.separation.media.probe import probe_file
from tests.quality import si_sdr_db

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.separation.conftest import Media

CUT_OFF_WHOLE_SECONDS = {
    "clip.mp4": 8.0,
    "phone.mov": 6.0,
    "trailer.mp3": 9.0,
    "memo.wav": 6.0,
    "interview.flac": 6.4,
}


def _code(path: Path) -> tuple[str, str]:
    """Return the code and message of the failed decoding."""
    with pytest.raises(SeparationFailed) as failed, open_media(path) as container:
        list(Decoder(path, container).blocks())
    return failed.value.code, failed.value.message


def test_every_demo_file_is_the_sum_of_its_stems(media: Media) -> None:
    """Every container is decoded with the right start and length: the true stems add up to it."""
    assert {demo.mixture.suffix for demo in media.demo} == {
        ".mp3",
        ".m4a",
        ".wav",
        ".flac",
        ".ogg",
        ".mp4",
        ".mov",
    }
    for demo in media.demo:
        mixture, voice, background = (
            media.decode(path) for path in (demo.mixture, demo.voice, demo.background)
        )
        shortest = min(len(mixture), len(voice), len(background))
        assert len(voice) - shortest < 1024
        assert si_sdr_db(mixture[:shortest], voice[:shortest] + background[:shortest]) > 18, (
            demo.mixture.name
        )


def test_the_demo_files_are_small(media: Media) -> None:
    """All together under 3 MB; one is longer than a minute, one is mono, one has video."""
    probes = [probe_file(demo.mixture) for demo in media.demo]
    assert sum(probe.size_bytes for probe in probes) < 3_000_000
    assert any((probe.duration_s or 0) > 60 for probe in probes)
    assert any(probe.audio[0].channels == 1 for probe in probes)
    assert any(probe.video for probe in probes)


def test_a_probe_has_the_leaves_of_the_vendors_media_info(media: Media) -> None:
    """An mp4 with video and audio is described in FFmpeg's words, with units."""
    (clip,) = (demo.mixture for demo in media.demo if demo.mixture.name == "clip.mp4")
    probe = probe_file(clip)
    assert probe.format_name == "mov,mp4,m4a,3gp,3g2,mj2"
    assert probe.format_long_name == "QuickTime / MOV"
    assert (probe.num_stream, probe.num_program, probe.size_bytes) == (2, 0, clip.stat().st_size)
    assert probe.duration_s == pytest.approx(8.0, abs=0.1)
    assert probe.bitrate_kbps == pytest.approx(
        probe.size_bytes * 8 / 1000 / (probe.duration_s or 1)
    )
    (sound,), (picture,) = probe.audio, probe.video
    assert (sound.codec_name, sound.codec_tag_string, sound.codec_tag) == (
        "aac",
        "mp4a",
        "0x6134706d",
    )
    assert (sound.sample_rate_hz, sound.channels, sound.channel_layout, sound.sample_fmt) == (
        48000,
        2,
        "stereo",
        "fltp",
    )
    assert (sound.index, sound.timebase, sound.language) == (0, "1/48000", "und")
    assert sound.duration_s == pytest.approx(8.0, abs=0.05)
    assert sound.bitrate_kbps == pytest.approx(128, rel=0.15)
    assert (picture.codec_name, picture.width, picture.height, picture.fps) == (
        "h264",
        320,
        180,
        12,
    )


def test_the_known_length_replaces_a_guess(media: Media, tmp_path: Path) -> None:
    """A bare AAC stream states no length, so the probe reports the encoded length."""
    path = media.encode(tmp_path / "stem", media.tones(2), "aac", 44100, 2, 64)
    probe = probe_file(path, 2.0)
    assert probe.duration_s == probe.audio[0].duration_s == 2.0
    flac = probe_file(media.encode(tmp_path / "stem", media.tones(2), "flac"), 99.0)
    assert flac.duration_s == 2.0


def test_a_file_is_opened_by_its_content_not_its_name(media: Media, tmp_path: Path) -> None:
    """A colon, a space and a wrong suffix in the name do not matter."""
    path = tmp_path / "http: odd näme.txt"
    path.write_bytes(media.demo[0].mixture.read_bytes())
    assert len(media.decode(path)) == len(media.decode(media.demo[0].mixture))


@pytest.mark.parametrize("name", CUT_OFF_WHOLE_SECONDS)
def test_a_file_that_was_cut_off_is_refused(name: str, media: Media, tmp_path: Path) -> None:
    """Half of a file is not separated as a complete one; the message states the length."""
    (whole,) = (demo.mixture for demo in media.demo if demo.mixture.name == name)
    half = tmp_path / name
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    code, message = _code(half)
    assert code == "ResourceNotSupported"
    assert f"cut off: its header states {CUT_OFF_WHOLE_SECONDS[name]:.1f} s" in message


def test_an_m4a_without_its_index_is_refused(media: Media, tmp_path: Path) -> None:
    """With its index at the end, a file that was cut off cannot be opened."""
    (whole,) = (demo.mixture for demo in media.demo if demo.mixture.suffix == ".m4a")
    half = tmp_path / "half.m4a"
    half.write_bytes(whole.read_bytes()[:50_000])
    code, message = _code(half)
    assert code == "ResourceNotSupported"
    assert "could not be opened" in message


def test_a_damaged_file_is_refused(media: Media, tmp_path: Path) -> None:
    """Garbage in the middle of a file is an error."""
    (whole,) = (demo.mixture for demo in media.demo if demo.mixture.suffix == ".m4a")
    content = bytearray(whole.read_bytes())
    for at in np.random.default_rng(0).integers(len(content) // 5, len(content) * 4 // 5, 200):
        content[at] ^= 0xFF
    (tmp_path / "damaged.m4a").write_bytes(content)
    code, message = _code(tmp_path / "damaged.m4a")
    assert code == "ResourceNotSupported"
    assert "damaged" in message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.mp3", b"", "empty (0 bytes)"),
        ("text.mp3", b"This is a text, not a song.\n" * 300, "not a media file"),
        (
            "list.m3u8",
            b"#EXTM3U\n#EXTINF:9,\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
            "not a media file",
        ),
        ("list.ffconcat", b"ffconcat version 1.0\nfile 'secret.wav'\n", "not a media file"),
        ("random.mp3", np.random.default_rng(0).bytes(60_000), ""),
    ],
)
def test_a_file_other_than_media_is_refused(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    """Text, random bytes, an empty file, and playlists that name other files."""
    (tmp_path / "secret.wav").write_bytes(b"")
    (tmp_path / name).write_bytes(content)
    code, message = _code(tmp_path / name)
    assert code == "ResourceNotSupported"
    assert words in message


def test_an_absent_file_and_a_folder_are_not_found(tmp_path: Path) -> None:
    """A missing object has another code than a bad one."""
    assert _code(tmp_path / "absent.mp3") == ("ResourceNotFound", "The input does not exist.")
    assert _code(tmp_path)[0] == "ResourceNotFound"


def test_pictures_without_sound_are_refused(tmp_path: Path) -> None:
    """A video without an audio track has nothing to separate."""
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for _ in range(5):
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                )
            )
        container.mux(stream.encode(None))
    assert _code(path) == (
        "ResourceNotSupported",
        "The input has pictures only; there is nothing to separate.",
    )


def test_a_file_of_length_zero_is_refused(tmp_path: Path) -> None:
    """A header without samples is an error."""
    path = tmp_path / "zero.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(44100)
    assert "length is zero" in _code(path)[1]


def test_a_wave_file_of_unknown_size_is_complete(media: Media, tmp_path: Path) -> None:
    """Streaming writers state the largest possible size; that does not mean a missing end."""
    path = media.encode(tmp_path / "stream.wav", media.tones(1))
    content = bytearray(path.read_bytes())
    content[4:8] = b"\xff\xff\xff\xff"
    data = content.index(b"data") + 4
    content[data : data + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(media.decode(path)) == 44100


def test_a_stream_that_changes_its_rate_is_read_to_the_end(media: Media, tmp_path: Path) -> None:
    """Two joined AAC streams of different rates are one sound."""
    parts = [
        media.encode(tmp_path / f"{rate}", media.tones(1), "aac", rate, 2, 96).read_bytes()
        for rate in (44100, 22050)
    ]
    (tmp_path / "joined.aac").write_bytes(b"".join(parts))
    assert len(media.decode(tmp_path / "joined.aac")) > 2 * 44100
