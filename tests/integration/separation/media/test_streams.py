"""Transport and program streams, and fragmented films: whole to their last packet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.integration.separation.media.listen import hear, refusal
from tests.sound_files import Track, tone, write_film

if TYPE_CHECKING:
    from pathlib import Path

CONTAINERS = {"mpg": "mpeg", "vcd": "vcd", "svcd": "svcd", "vob": "vob"}


def stream(
    path: Path, codec: str, seconds: float, container: str | None = None, *, film: bool = True
) -> Path:
    """Write a sound with a picture."""
    picture = "mpeg1video" if container == "vcd" else "mpeg2video"
    track = Track([(0, tone(seconds, rate=48000))], codec, rate=48000)
    picture_s = seconds if film else 0
    return write_film(path, track, picture_s=picture_s, picture_codec=picture, container=container)


@pytest.mark.parametrize("ext", CONTAINERS)
@pytest.mark.parametrize("codec", ["mp2", "ac3"])
@pytest.mark.parametrize("seconds", [0.4, 5])
def test_a_program_stream_is_whole(ext: str, codec: str, seconds: float, tmp_path: Path) -> None:
    """The position of its last packet is not known; that is not damage."""
    path = stream(tmp_path / f"film.{ext}", codec, seconds, CONTAINERS[ext])
    heard = hear(path)
    assert heard.length_s == pytest.approx(seconds, abs=0.04)
    assert heard.notes == ""


@pytest.mark.parametrize("codec", ["aac", "mp2", "ac3"])
@pytest.mark.parametrize("film", [True, False])
def test_a_short_transport_stream_is_whole(codec: str, film: bool, tmp_path: Path) -> None:
    """Its last packet spreads over a large share of the file; zeros may follow it."""
    path = stream(tmp_path / "film.ts", codec, 0.3, film=film)
    length_s = hear(path).length_s
    assert length_s == pytest.approx(0.3, abs=0.05)
    path.write_bytes(path.read_bytes() + bytes(30_000))
    assert hear(path).length_s == length_s


@pytest.mark.parametrize("ext", ["ts", "mpg"])
def test_a_film_whose_end_is_destroyed_is_refused(ext: str, tmp_path: Path) -> None:
    """What does not look like packets was not read."""
    path = stream(tmp_path / f"film.{ext}", "mp2", 4)
    content = path.read_bytes()
    middle = len(content) // 2
    noise = np.random.default_rng(1).bytes(len(content) - middle)
    path.write_bytes(content[:middle] + noise)
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("flags", ["dash", "dash+global_sidx", "cmaf"])
@pytest.mark.parametrize("sound_s", [3.0, 1.5])
def test_each_track_of_a_fragmented_film_has_a_length(
    flags: str, sound_s: float, tmp_path: Path
) -> None:
    """The lengths of sound and picture do not add up, and the longer one counts."""
    options = {"movflags": f"{flags}+delay_moov+frag_keyframe"}
    track = Track([(0, tone(sound_s))], "aac")
    path = write_film(tmp_path / "film.mp4", track, picture_s=3, options=options)
    heard = hear(path)
    assert heard.length_s == pytest.approx(sound_s, abs=0.03)
    assert heard.notes == ""
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"moof") - 4])
    if "global" in flags:
        assert "cut off: its header states 3.0 s" in refusal(path)


@pytest.mark.parametrize("number", [1, 7])
def test_a_late_start_of_a_fragmented_sound(number: int, tmp_path: Path) -> None:
    """It is silence in front of the first fragment; a segment of a stream has no beginning."""
    flags = "frag_custom+empty_moov+default_base_moof+delay_moov"
    options = {"movflags": flags, "frag_duration": "500000"}
    path = write_film(tmp_path / "sound.mp4", Track([(0, tone(2))], "aac"), options=options)
    length_s = hear(path).length_s
    content = bytearray(path.read_bytes())
    at = -1
    while (at := content.find(b"tfdt", at + 1)) > 0:
        assert content[at + 4] == 1  # with 64 bits
        time = int.from_bytes(content[at + 8 : at + 16], "big") + 52_920  # 1.2 s
        content[at + 8 : at + 16] = time.to_bytes(8, "big")
    while (at := content.find(b"mfhd", at + 1)) > 0:
        fragment = int.from_bytes(content[at + 8 : at + 12], "big") + number - 1
        content[at + 8 : at + 12] = fragment.to_bytes(4, "big")
    path.write_bytes(content)
    heard = hear(path)
    lead_s = 1.2 if number == 1 else 0
    assert heard.length_s == pytest.approx(length_s + lead_s, abs=0.001)
    assert ("starts late: 1.20 s" in heard.notes) == (number == 1)
