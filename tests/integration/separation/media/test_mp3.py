"""mp3 files: tags, pictures, padding and other files before, between and behind the sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.media.byte_source import byte_source
from orchestrator.separation.media.mpeg_audio import runs_of
from tests.integration.separation.media.listen import hear, refusal
from tests.sound_files import Track, tone, write_film

if TYPE_CHECKING:
    from pathlib import Path

ID3V1 = b"TAG" + b"song".ljust(125, b"\0")


def mp3(folder: Path, seconds: float = 2, *, header: bool = True, rate: int = 44100) -> bytes:
    """Return an mp3 without tags."""
    options = {"id3v2_version": "0", "write_xing": str(int(header))}
    track = Track([(0, tone(seconds, rate=rate))], "libmp3lame", rate=rate)
    return write_film(folder / "made.mp3", track, options=options).read_bytes()


def id3v2(size: int, content: bytes = b"") -> bytes:
    """Return a tag whose content is padded to a size."""
    sizes = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\0\0" + sizes + content.ljust(size, b"\0")


def ape(content: bytes) -> bytes:
    """Return an APEv2 tag with header and footer around an item."""
    item = len(content).to_bytes(4, "little") + bytes(4) + b"Cover Art (Front)\0" + content
    size = (len(item) + 32).to_bytes(4, "little")

    def end(flags: int) -> bytes:
        count = (1).to_bytes(4, "little")
        return b"APETAGEX\xd0\x07\0\0" + size + count + flags.to_bytes(4, "little") + bytes(8)

    return end(0xA0000000) + item + end(0x80000000)


COVER = b"\xff\xd8\xff\xe0" + b"\xff\xfb\x90\x64\x00picture" * 3000 + b"\xff\xd9"
"""A picture with bytes that look like the beginning of mp3 frames."""


def stored(folder: Path, *parts: bytes) -> Path:
    path = folder / "song.mp3"
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("header", [True, False])
def test_what_stands_around_the_sound_is_ignored(header: bool, tmp_path: Path) -> None:
    """Tags of every kind, pictures, zeros and noise before and behind the sound."""
    sound = mp3(tmp_path, header=header)
    plain = hear(stored(tmp_path, sound)).length_s
    for before in (b"", id3v2(20_000, COVER), id3v2(300) + id3v2(90_000, COVER)):
        for behind in (ID3V1, ape(COVER), ape(COVER) + ID3V1, bytes(50_000), b"\x55\xaa" * 9000):
            heard = hear(stored(tmp_path, before, sound, behind))
            assert heard.length_s == pytest.approx(plain, abs=0.001)
            assert heard.notes == ""


def test_a_length_that_is_stated_and_not_reached_is_a_missing_end(tmp_path: Path) -> None:
    """The Xing header counts the frames; tags before it do not hide it."""
    sound = mp3(tmp_path)
    for before in (b"", id3v2(1000), id3v2(1000) + id3v2(30_000, COVER)):
        message = refusal(stored(tmp_path, before, sound[: len(sound) * 2 // 3]))
        assert "cut off: its header states 2.0 s" in message


def test_a_vbri_header_states_the_length(tmp_path: Path) -> None:
    """Fraunhofer's encoder writes another header, 32 bytes behind the frame's own."""
    sound = bytearray(mp3(tmp_path, header=False))
    with byte_source(stored(tmp_path, bytes(sound))) as source:
        (run,) = runs_of(source)
    vbri = b"VBRI\0\x01\0\0\0\x64" + len(sound).to_bytes(4, "big")
    sound[36:54] = vbri + (run.frames - 1).to_bytes(4, "big")
    assert hear(stored(tmp_path, bytes(sound))).length_s > 1.9
    message = refusal(stored(tmp_path, bytes(sound[: len(sound) // 2])))
    assert "cut off: its header states 2.0 s" in message


def test_an_estimate_of_the_length_is_not_a_statement(tmp_path: Path) -> None:
    """A variable bitrate that begins low lets every estimate be too long."""
    low, high = mp3(tmp_path, 3, header=False), mp3(tmp_path, 3, header=False)
    assert hear(stored(tmp_path, low, high)).length_s == pytest.approx(6.05, abs=0.1)


def test_joined_files_are_whole(tmp_path: Path) -> None:
    """Two files with headers and tags of their own are one sound, also at different rates."""
    one, other = mp3(tmp_path, 2), mp3(tmp_path, 3, rate=22050)
    tagged = [id3v2(500, COVER), one, ID3V1, id3v2(30_000, COVER), other, ape(COVER)]
    for parts in ([one, one], [one, other], tagged):
        heard = hear(stored(tmp_path, *parts))
        expected = 4 if parts == [one, one] else 5
        assert heard.length_s == pytest.approx(expected, abs=0.06)
        assert "2 joined files" in heard.notes


def test_the_second_of_joined_files_may_be_cut_off(tmp_path: Path) -> None:
    """Each states its own length."""
    one = mp3(tmp_path, 2)
    assert "cut off" in refusal(stored(tmp_path, one, id3v2(100), one[: len(one) // 2]))


def test_a_gap_of_garbage_within_the_sound_is_survived(tmp_path: Path) -> None:
    """Damage of some bytes costs some frames; the rest belongs to the same sound."""
    sound = bytearray(mp3(tmp_path, 20, header=False))
    sound[50_000:50_300] = b"\x55" * 300
    heard = hear(stored(tmp_path, bytes(sound)))
    assert heard.length_s == pytest.approx(20, abs=0.4)


def test_much_garbage_within_the_sound_is_damage(tmp_path: Path) -> None:
    """What the header states is not there, although the file does not end early."""
    sound = bytearray(mp3(tmp_path, 4))
    sound[10_000:22_000] = b"\x55" * 12_000
    assert "damaged" in refusal(stored(tmp_path, bytes(sound)))


def test_a_file_of_one_frame_is_read(tmp_path: Path) -> None:
    """The shortest mp3."""
    sound = mp3(tmp_path, 0.02, header=False)
    assert hear(stored(tmp_path, sound)).length_s > 0.02


@pytest.mark.parametrize("seconds", [0.1, 0.18])
@pytest.mark.parametrize("header", [True, False])
def test_joined_files_may_be_very_short(seconds: float, header: bool, tmp_path: Path) -> None:
    """Prompts and jingles of a tenth of a second are sounds, too."""
    parts = [mp3(tmp_path, seconds, header=header, rate=rate) for rate in (44100, 48000)] * 6
    length_s = sum(hear(stored(tmp_path, part)).length_s for part in parts)
    heard = hear(stored(tmp_path, *parts))
    assert heard.length_s == pytest.approx(length_s, abs=0.01)
    assert "12 joined files" in heard.notes


@pytest.mark.parametrize("codec", ["libmp3lame", "mp2"])
def test_damage_counts_as_lost_sound_without_a_header(codec: str, tmp_path: Path) -> None:
    """Nothing states the length, but the damaged bytes were sound."""
    options = {"id3v2_version": "0", "write_xing": "0"} if codec == "libmp3lame" else {}
    path = tmp_path / ("sound.mp3" if codec == "libmp3lame" else "sound.mp2")
    write_film(path, Track([(0, tone(20))], codec), options=options)
    sound = bytearray(path.read_bytes())
    middle, few = len(sound) // 2, 450
    sound[middle : middle + few] = bytes(few)
    path.write_bytes(sound)
    assert "1 damaged place within the sound had to be left out" in hear(path).notes
    many = len(sound) // 12
    sound[middle : middle + many] = bytes(many)
    path.write_bytes(sound)
    assert "damaged: it should have 20" in refusal(path)


@pytest.mark.parametrize("header", [True, False])
def test_a_tag_that_states_too_much_hides_no_sound(header: bool, tmp_path: Path) -> None:
    """It ends where frames begin that reach beyond its stated end."""
    sound = mp3(tmp_path, 4, header=header)
    plain = hear(stored(tmp_path, sound)).length_s
    tag = bytearray(id3v2(300, COVER))
    tag[6:10] = bytes(40_000 >> shift & 0x7F for shift in (21, 14, 7, 0))
    assert hear(stored(tmp_path, bytes(tag), sound)).length_s == pytest.approx(plain, abs=0.001)


def test_tags_behind_padding_are_not_damage(tmp_path: Path) -> None:
    """Zeros between two files belong to the padding of the first, or to the tag of the second."""
    one = mp3(tmp_path, 2, header=False)
    length_s = hear(stored(tmp_path, one)).length_s
    for tag in (id3v2(90_000, COVER), ID3V1, ape(COVER)):
        heard = hear(stored(tmp_path, one, bytes(9_000), tag, one))
        assert heard.length_s == pytest.approx(2 * length_s, abs=0.01)
        assert "2 joined files" in heard.notes
        assert "damaged" not in heard.notes
