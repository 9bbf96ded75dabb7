"""Every container: whole files are read to their end, and cut ones are refused."""

from __future__ import annotations

import wave
from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.separation.media.container import open_media
from orchestrator.separation.media.decode import Decoder
from tests.integration.separation.media.listen import RATE, hear, refusal
from tests.sound_files import Track, tone, write_film

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.separation.conftest import Media

SECONDS = 3.0
STATE_LENGTH = (
    ("wav", "pcm_s16le"),
    ("wav", "pcm_f32le"),
    ("wav", "libmp3lame"),
    ("wav", "flac"),
    ("w64", "pcm_s16le"),
    ("aiff", "pcm_s16be"),
    ("au", "pcm_s16be"),
    ("caf", "pcm_s16be"),
    ("flac", "flac"),
    ("wv", "wavpack"),
    ("tta", "tta"),
    ("avi", "pcm_s16le"),
    ("avi", "libmp3lame"),
    ("avi", "ac3"),
    ("mkv", "flac"),
    ("mkv", "pcm_s16le"),
    ("webm", "libopus"),
    ("flv", "aac"),
    ("flv", "libmp3lame"),
    ("asf", "wmav2"),
    ("mp3", "libmp3lame"),
    ("rm", "ac3"),
)
"""Container and codec; each of them states how long it is."""
INDEXED = (("mov", "pcm_s16le"), ("m4a", "aac"), ("m4a", "alac"), ("mp4", "flac"), ("3gp", "aac"))
"""Containers whose index stands at the end, unless it is moved to the front."""
STATE_NONE = (
    ("aac", "aac"),
    ("ac3", "ac3"),
    ("eac3", "eac3"),
    ("amr", "libopencore_amrnb"),
    ("mp2", "mp2"),
    ("ts", "mp2"),
    ("mpg", "mp2"),
)
"""Containers that state no length."""
CONTAINERS = {"m4a": "ipod", "wv": "wv", "aac": "adts", "mpg": "mpeg", "ts": "mpegts"}


def written(folder: Path, ext: str, codec: str, *, live: bool = False, **options: str) -> Path:
    """Write a tone; ``live`` writes as to a pipe, so that no length is filled in."""
    rate = {"libopus": 48000, "libopencore_amrnb": 8000}.get(codec, RATE)
    layout = "stereo" if codec == "wmav2" else "mono"
    sound = tone(SECONDS, rate=rate)
    sound = np.repeat(sound, 2, axis=0) if layout == "stereo" else sound
    track = Track([(0, sound)], codec, rate=rate, layout=layout)
    path = folder / f"whole.{ext}"
    name = CONTAINERS.get(ext)
    if not live:
        return write_film(path, track, container=name, options=options)
    return write_film(path, track, container=name, options=options, seekable=False)


def cut(path: Path, share: float) -> Path:
    """Return the first part of a file."""
    part = path.with_name(f"cut-{share}{path.suffix}")
    content = path.read_bytes()
    part.write_bytes(content[: int(len(content) * share)])
    return part


@pytest.mark.parametrize(("ext", "codec"), STATE_LENGTH)
def test_a_container_that_states_its_length(ext: str, codec: str, tmp_path: Path) -> None:
    """The whole file is read; without its last 10 % or its half it is cut off."""
    path = written(tmp_path, ext, codec)
    heard = hear(path)
    assert heard.length_s == pytest.approx(SECONDS, abs=0.07)
    assert heard.notes == ""
    for share in (0.5, 0.9):
        assert "cut off" in refusal(cut(path, share)), share


@pytest.mark.parametrize(("ext", "codec"), INDEXED)
def test_a_container_with_an_index(ext: str, codec: str, tmp_path: Path) -> None:
    """Without its index it cannot be opened; with the index in front it is cut off."""
    path = written(tmp_path, ext, codec)
    assert hear(path).length_s == pytest.approx(SECONDS, abs=0.03)
    assert "could not be opened" in refusal(cut(path, 0.7))
    path = written(tmp_path, ext, codec, movflags="faststart")
    assert hear(path).length_s == pytest.approx(SECONDS, abs=0.03)
    assert "cut off: its header states 3.0 s" in refusal(cut(path, 0.7))


@pytest.mark.parametrize(("ext", "codec"), STATE_NONE)
def test_a_container_without_a_length(ext: str, codec: str, tmp_path: Path) -> None:
    """What is there is separated; nothing shows that something is missing."""
    path = written(tmp_path, ext, codec)
    assert hear(path).length_s == pytest.approx(SECONDS, abs=0.06)
    assert hear(cut(path, 0.5)).length_s == pytest.approx(SECONDS / 2, abs=0.2)


@pytest.mark.parametrize("ext", ["wav", "au", "flv", "mkv", "avi"])
def test_a_recording_of_unknown_length_is_whole(ext: str, tmp_path: Path) -> None:
    """A program that writes to a pipe cannot fill in the length; that is not a missing end."""
    codec = {"au": "pcm_s16be", "flv": "aac"}.get(ext, "pcm_s16le")
    path = written(tmp_path, ext, codec, live=True)
    assert hear(path).length_s == pytest.approx(SECONDS, abs=0.06)


def test_a_fragmented_film(tmp_path: Path) -> None:
    """It is read without an index, and a fragment that is not complete shows a missing end."""
    flags = "frag_keyframe+empty_moov+default_base_moof"
    path = written(tmp_path, "mp4", "aac", movflags=flags, frag_duration="500000")
    assert hear(path).length_s == pytest.approx(SECONDS, abs=0.03)
    assert "cut off" in refusal(cut(path, 0.55))


@pytest.mark.parametrize("ext", ["mkv", "flv", "avi", "mp4"])
def test_sound_that_ends_before_the_picture_is_whole(ext: str, tmp_path: Path) -> None:
    """The container's length is that of the picture."""
    picture = "flv" if ext == "flv" else "mpeg4"
    track = Track([(0, tone(2))], "aac")
    path = write_film(tmp_path / f"film.{ext}", track, picture_s=5, picture_codec=picture)
    heard = hear(path)
    assert heard.length_s == pytest.approx(2, abs=0.05)
    assert "cut off" in refusal(cut(path, 0.2 if ext != "mp4" else 0.9)) or ext == "mp4"


@pytest.mark.parametrize(
    ("ext", "codec"),
    [
        *[pair for pair in STATE_LENGTH if pair[0] not in {"mp3", "flv", "rm"}],
        *INDEXED,
        ("ts", "mp2"),
    ],
)
def test_what_follows_the_sound_is_ignored(ext: str, codec: str, tmp_path: Path) -> None:
    """Padding and tags behind the sound are neither sound nor damage."""
    path = written(tmp_path, ext, codec)
    sound = path.read_bytes()
    length_s = hear(path).length_s
    tag = b"TAG" + bytes(125)
    for behind in (bytes(20_000), b"\xa7" * 20_000 + tag if ext != "ts" else bytes(188)):
        path.write_bytes(sound + behind)
        assert hear(path).length_s == pytest.approx(length_s, abs=0.001)


def test_the_data_chunk_counts_not_the_riff_size(media: Media, tmp_path: Path) -> None:
    """A RIFF size that is too large means nothing if the data chunk is complete."""
    path = media.encode(tmp_path / "odd.wav", media.tones(1))
    content = bytearray(path.read_bytes())
    content[4:8] = (len(content) * 3).to_bytes(4, "little")
    path.write_bytes(content)
    assert len(hear(path).sound) == RATE


@pytest.mark.parametrize("name", [b"RF64", b"BW64"])
def test_a_wave_file_of_64_bit_sizes(name: bytes, media: Media, tmp_path: Path) -> None:
    """The size stands in a chunk of its own."""
    path = media.encode(tmp_path / "in.wav", media.tones(1))
    content = path.read_bytes()
    data = content.index(b"data")
    sizes = (
        (len(content) - 8 + 36).to_bytes(8, "little")
        + int.from_bytes(content[data + 4 : data + 8], "little").to_bytes(8, "little")
        + bytes(12)
    )
    chunk = b"ds64" + (28).to_bytes(4, "little") + sizes
    head = name + b"\xff\xff\xff\xffWAVE" + chunk + content[12:data] + b"data\xff\xff\xff\xff"
    path.write_bytes(head + content[data + 8 :])
    assert len(hear(path).sound) == RATE
    assert "cut off: its header states 1.0 s" in refusal(cut(path, 0.6))


@pytest.mark.parametrize("count", [3, 9, 60, 100])
def test_a_wave_file_of_many_channels(count: int, tmp_path: Path) -> None:
    """Any number of channels, also more than FFmpeg's resampler knows."""
    path = tmp_path / "many.wav"
    samples = np.repeat(np.round(tone(1, rate=48000)[0] * 32767).astype("<i2"), count)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(count)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes(samples.tobytes())
    heard = hear(path)
    assert len(heard.sound) == RATE
    assert np.abs(heard.sound).max() == pytest.approx(0.3, abs=0.01)
    assert f"{count} channels" in heard.notes


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    """An mp3 without tags under the name of another kind is an mp3."""
    sound = write_film(
        tmp_path / "bare.mp3",
        Track([(0, tone(2))], "libmp3lame"),
        options={"id3v2_version": "0", "write_xing": "0"},
    ).read_bytes()
    for ext in ("wav", "ac3", "tak", "aac", "m4a", "txt", "amr", "flac", "dts", "ts"):
        path = tmp_path / f"song.{ext}"
        path.write_bytes(sound)
        assert hear(path).length_s == pytest.approx(2.0, abs=0.06), ext


@pytest.mark.parametrize(
    ("ext", "codec"),
    [
        ("mkv", "flac"),
        ("webm", "libopus"),
        ("flv", "aac"),
        ("ts", "mp2"),
        ("mpg", "mp2"),
        ("asf", "wmav2"),
        ("m4a", "aac"),
        ("flac", "flac"),
        ("mp3", "libmp3lame"),
        ("wv", "wavpack"),
        ("ac3", "ac3"),
        ("aac", "aac"),
    ],
)
def test_a_file_whose_end_is_destroyed_is_refused(ext: str, codec: str, tmp_path: Path) -> None:
    """Success with what is in front of the damage would be half of the sound."""
    path = written(tmp_path, ext, codec, movflags="faststart" if ext == "m4a" else "")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle:] = b"\x55" * (len(content) - middle)
    path.write_bytes(content)
    assert refusal(path).startswith(("The input is damaged", "The input is cut off"))


@pytest.mark.parametrize("codec", ["pcm_s16le", "libmp3lame", "ac3"])
@pytest.mark.parametrize(("share", "has_index"), [(0.05, True), (0.4, True), (0.15, False)])
def test_damage_within_an_avi_file_is_refused(
    codec: str, share: float, has_index: bool, tmp_path: Path
) -> None:
    """FFmpeg continues with the next packet; index and header state what lies between."""
    path = written(tmp_path, "avi", codec)
    content = bytearray(path.read_bytes())
    if not has_index:
        at = content.rindex(b"idx1")
        content[at : at + 4] = b"JUNK"
        path.write_bytes(content)
    assert hear(path).length_s == pytest.approx(SECONDS, abs=0.07)
    start, count = int(len(content) * 0.3), int(len(content) * share)
    content[start : start + count] = bytes(count)
    path.write_bytes(content)
    assert "damaged" in refusal(path)


def test_an_avi_file_may_have_empty_packets(tmp_path: Path) -> None:
    """They stand for a time without sound, and are not damage."""
    track = Track([(0, tone(1)), (3, tone(1))], "libmp3lame")
    path = write_film(tmp_path / "film.avi", track, picture_s=4)
    assert hear(path).length_s >= 2


@pytest.mark.parametrize("samples", [4096 * 20, 88_200, 4096 * 20 + 1])
def test_alac_in_caf_keeps_its_end(samples: int, tmp_path: Path) -> None:
    """Codec and container both state how long the last packet is."""
    sound = tone(samples / RATE)
    path = write_film(tmp_path / "sound.caf", Track([(0, sound)], "alac"))
    heard = hear(path)
    assert len(heard.sound) == samples
    assert np.abs(heard.sound[:, 0] - sound[0]).max() < 0.001


@pytest.mark.parametrize(("ext", "codec"), [("tta", "tta"), ("mka", "flac"), ("mp4", "flac")])
def test_damaged_packets_with_checksums_are_not_noise(ext: str, codec: str, tmp_path: Path) -> None:
    """A few are left out, which is noted; more are damage."""
    sound = tone(240, rate=8000)
    path = write_film(tmp_path / f"sound.{ext}", Track([(0, sound)], codec, rate=8000))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 40] = bytes(40)
    path.write_bytes(content)
    heard = hear(path)
    assert np.abs(heard.sound).max() < 0.5
    assert "1 damaged packet of the sound had to be left out." in heard.notes
    for place in range(middle, middle + len(content) // 5, len(content) // 500):
        content[place : place + 20] = bytes(20)
    path.write_bytes(content)
    assert "could not be decoded" in refusal(path)


def test_a_voc_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    """Its blocks are short, and behind one that is not complete, any number may be missing."""
    path = written(tmp_path, "voc", "pcm_s16le")
    assert hear(path).length_s == pytest.approx(SECONDS, abs=0.001)
    assert hear(path).notes == ""
    for share in (0.5, 0.9):
        assert "cut off" in refusal(cut(path, share)), share
    content = path.read_bytes()
    assert content.endswith(b"\0")
    path.write_bytes(content[:-1])
    heard = hear(path)
    assert heard.length_s == pytest.approx(SECONDS, abs=0.001)
    assert "no mark of its end, as VOC files have" in heard.notes


def test_a_low_sample_rate_takes_no_memory(tmp_path: Path) -> None:
    """A damaged header may state 2 Hz: 600 samples are five minutes, in small blocks."""
    path = tmp_path / "slow.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(2)
        file.writeframes(bytes(1200))
    with open_media(path) as container:
        lengths = [len(block) for block in Decoder(path, container).blocks()]
    assert sum(lengths) == 300 * RATE
    assert max(lengths) < 3 * RATE
