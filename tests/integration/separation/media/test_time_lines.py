"""Sound is placed where its time stamps say, in every container that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.integration.separation.media.listen import RATE, hear, refusal
from tests.sound_files import Track, tone, write_film

if TYPE_CHECKING:
    from pathlib import Path

PICTURES = {"ts": "mpeg2video", "flv": "flv", "webm": "libvpx"}
STAMPED = (
    ("mkv", "pcm_s16le", 0.0),
    ("mkv", "aac", 0.0),
    ("mp4", "aac", 0.0),
    ("ts", "mp2", 0.011),
    ("flv", "aac", 0.023),
    ("webm", "libopus", 0.0),
)
"""Container, codec, and the encoder's delay where the container cannot tell it."""


def film(folder: Path, ext: str, codec: str, pieces: list[tuple[float, float]]) -> Path:
    """Write tones from one instant to another beside a picture of 7 s."""
    rate = 48000 if codec == "libopus" else RATE
    sounds = [(start, tone(end - start, rate=rate)) for start, end in pieces]
    picture = PICTURES.get(ext, "mpeg4")
    track = Track(sounds, codec, rate=rate)
    return write_film(folder / f"film.{ext}", track, picture_s=7, picture_codec=picture)


@pytest.mark.parametrize(("ext", "codec", "delay_s"), STAMPED)
def test_a_hole_is_filled(ext: str, codec: str, delay_s: float, tmp_path: Path) -> None:
    """The second half sounds when its stamps say, to 10 ms."""
    heard = hear(film(tmp_path, ext, codec, [(0, 2), (5, 7)]))
    long = [part for part in heard.parts(0.15) if part[1] - part[0] > 1]
    assert [start for start, _ in long] == pytest.approx([delay_s, 5 + delay_s], abs=0.01)
    assert heard.length_s == pytest.approx(7, abs=0.05)
    assert "1 hole" in heard.notes


@pytest.mark.parametrize(("ext", "codec", "delay_s"), STAMPED)
def test_a_late_start_is_silence(ext: str, codec: str, delay_s: float, tmp_path: Path) -> None:
    """The sound keeps its distance from the picture's start."""
    heard = hear(film(tmp_path, ext, codec, [(2, 4)]))
    assert heard.parts()[0][0] == pytest.approx(2.0, abs=0.015)
    assert heard.length_s == pytest.approx(4, abs=0.05)
    assert "starts late" in heard.notes


@pytest.mark.parametrize(("ext", "codec", "delay_s"), STAMPED)
def test_an_overlap_is_cut(ext: str, codec: str, delay_s: float, tmp_path: Path) -> None:
    """Sound that is there twice sounds once."""
    heard = hear(film(tmp_path, ext, codec, [(0, 3), (2, 5)]))
    assert heard.length_s == pytest.approx(5, abs=0.05)
    assert "1 overlap" in heard.notes


def test_a_late_start_in_avi_stands_in_its_header(tmp_path: Path) -> None:
    """Each track has a start, in units of its own."""
    path = write_film(tmp_path / "film.avi", Track([(0, tone(2))]), picture_s=4)
    content = bytearray(path.read_bytes())
    start = content.index(b"auds") + 28
    content[start : start + 4] = (RATE * 3 // 2).to_bytes(4, "little")
    path.write_bytes(content)
    heard = hear(path)
    assert heard.parts()[0][0] == pytest.approx(1.5, abs=0.01)
    assert heard.length_s == pytest.approx(3.5, abs=0.01)


@pytest.mark.parametrize("ext", ["mkv", "mp4", "flv"])
def test_a_late_start_counts_without_a_picture(ext: str, tmp_path: Path) -> None:
    """Containers with a length begin at 0, whatever is in them."""
    path = write_film(tmp_path / f"late.{ext}", Track([(2, tone(2))], "aac"))
    heard = hear(path)
    assert heard.parts()[0][0] == pytest.approx(2.0, abs=0.015)


def test_a_stream_that_was_joined_in_its_middle_begins_with_sound(tmp_path: Path) -> None:
    """A transport stream's clock starts anywhere; that is not silence."""
    path = write_film(tmp_path / "late.ts", Track([(2000, tone(2))], "mp2"))
    heard = hear(path)
    assert heard.length_s == pytest.approx(2, abs=0.05)
    assert heard.notes == ""


def test_joined_transport_streams_lose_nothing(tmp_path: Path) -> None:
    """The time stamps of the second file start again."""
    one = write_film(tmp_path / "one.ts", Track([(0, tone(3))], "mp2")).read_bytes()
    (tmp_path / "joined.ts").write_bytes(one + one)
    assert hear(tmp_path / "joined.ts").length_s == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize(("ext", "codec"), [("mkv", "aac"), ("webm", "libopus")])
def test_joined_films_lose_nothing(ext: str, codec: str, tmp_path: Path) -> None:
    """A second Matroska file behind the first one is read as its continuation."""
    rate = 48000 if codec == "libopus" else RATE
    one = write_film(tmp_path / f"one.{ext}", Track([(0, tone(3, rate=rate))], codec, rate=rate))
    (tmp_path / f"two.{ext}").write_bytes(one.read_bytes() * 2)
    assert hear(tmp_path / f"two.{ext}").length_s == pytest.approx(6, abs=0.1)


def test_joined_flv_files_are_refused(tmp_path: Path) -> None:
    """FFmpeg reads the first one only, and success would be half of the sound."""
    one = write_film(tmp_path / "one.flv", Track([(0, tone(3))], "aac")).read_bytes()
    (tmp_path / "two.flv").write_bytes(one + one)
    assert "joined from several files" in refusal(tmp_path / "two.flv")


@pytest.mark.parametrize("factor", [0.5, 2])
def test_an_edit_list_is_honoured(factor: float, tmp_path: Path) -> None:
    """A shorter edit ends the sound; one that is longer than the sound is not a missing end."""
    path = write_film(tmp_path / "song.m4a", Track([(0, tone(3))], "aac"), container="ipod")
    content = bytearray(path.read_bytes())
    for box, at in ((b"elst", 12), (b"mvhd", 20), (b"tkhd", 24)):
        start = content.index(box) + at
        units = int.from_bytes(content[start : start + 4], "big")
        content[start : start + 4] = round(units * factor).to_bytes(4, "big")
    path.write_bytes(content)
    assert hear(path).length_s == pytest.approx(min(3 * factor, 3), abs=0.01)


def test_the_padding_behind_the_last_packet_of_an_mp4_is_dropped(tmp_path: Path) -> None:
    """The index states the end of the sound; the codec's frame is longer."""
    path = write_film(tmp_path / "short.mp4", Track([(0, tone(1.01))], "aac"))
    assert hear(path).length_s == pytest.approx(1.01, abs=0.001)


def test_a_recording_with_a_slow_clock_stays_in_step(tmp_path: Path) -> None:
    """A camera's sound that runs 0.1 % slow is within 10 ms of the stamps after 20 s."""
    pieces = [(start * 1.001, tone(0.1, hertz=500 + 20 * start)) for start in np.arange(0, 20, 0.1)]
    path = write_film(tmp_path / "slow.mkv", Track(pieces))
    heard = hear(path)
    assert heard.length_s == pytest.approx(20 * 1.001, abs=0.012)


def test_sound_of_steady_stamps_is_not_touched(tmp_path: Path) -> None:
    """Stamps that are rounded to milliseconds move nothing."""
    sound = tone(5)
    plain = hear(write_film(tmp_path / "steady.mkv", Track([(0, sound)]), picture_s=5))
    assert len(plain.sound) == sound.shape[1]
    assert np.abs(plain.sound[:, 0] - sound[0]).max() < 2 / 32768
    assert plain.notes == ""
