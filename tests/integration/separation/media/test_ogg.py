"""Ogg files: chains, lost and damaged pages, and missing ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.media.byte_source import byte_source
from orchestrator.separation.media.ogg_pages import links_of
from tests.integration.separation.media.listen import hear, refusal
from tests.sound_files import Track, tone, write_film

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.separation.conftest import Media


def ogg(folder: Path, codec: str, seconds: float = 4) -> bytes:
    """Return an Ogg file of small pages."""
    rate = 48000 if codec == "libopus" else 44100
    track = Track([(0, tone(seconds, rate=rate))], codec, rate=rate)
    options = {"page_duration": "200000"}
    return write_film(folder / "made.ogg", track, options=options).read_bytes()


def stored(folder: Path, content: bytes) -> Path:
    path = folder / "sound.ogg"
    path.write_bytes(content)
    return path


def pages(content: bytes) -> list[bytes]:
    return [b"OggS" + page for page in content.split(b"OggS")[1:]]


CODECS = ("libopus", "flac")


@pytest.mark.parametrize("codec", CODECS)
def test_a_whole_file_is_read(codec: str, tmp_path: Path) -> None:
    """The encoder's delay (pre-skip) is not part of it."""
    heard = hear(stored(tmp_path, ogg(tmp_path, codec)))
    assert heard.length_s == pytest.approx(4.0, abs=0.001)
    assert heard.notes == ""


@pytest.mark.parametrize("codec", CODECS)
def test_lost_and_damaged_pages_are_found(codec: str, tmp_path: Path) -> None:
    """A page that is missing, or whose checksum is wrong, is damage, not a hole."""
    whole = pages(ogg(tmp_path, codec))
    middle = len(whole) // 2
    lost = whole[:middle] + whole[middle + 2 :]
    assert "damaged: 2 of" in refusal(stored(tmp_path, b"".join(lost)))
    bad = bytearray(whole[middle])
    bad[len(bad) // 2] ^= 0x10
    changed = [*whole[:middle], bytes(bad), *whole[middle + 1 :]]
    assert "damaged: 1 of" in refusal(stored(tmp_path, b"".join(changed)))


@pytest.mark.parametrize("codec", CODECS)
def test_a_file_that_ends_within_a_page_is_cut_off(codec: str, tmp_path: Path) -> None:
    """The page's own header states its size."""
    content = ogg(tmp_path, codec)
    assert "cut off" in refusal(stored(tmp_path, content[: len(content) * 2 // 3]))


@pytest.mark.parametrize("codec", CODECS)
def test_a_missing_end_mark_is_noted(codec: str, tmp_path: Path) -> None:
    """A recording that was interrupted between two pages is separated, with a remark."""
    whole = pages(ogg(tmp_path, codec))
    heard = hear(stored(tmp_path, b"".join(whole[: len(whole) // 2])))
    assert 1 < heard.length_s < 3
    assert "no mark of its end" in heard.notes


def test_a_chain_of_different_codecs_is_one_sound(media: Media, tmp_path: Path) -> None:
    """Opus, FLAC and Vorbis, each with its own rate and channels."""
    (vorbis,) = (demo.mixture for demo in media.demo if demo.mixture.suffix == ".ogg")
    chain = ogg(tmp_path, "libopus", 2) + ogg(tmp_path, "flac", 3) + vorbis.read_bytes()
    heard = hear(stored(tmp_path, chain))
    assert heard.length_s == pytest.approx(2 + 3 + 9, abs=0.01)
    assert "3 joined files" in heard.notes


def test_a_stream_that_was_joined_in_its_middle_is_whole(tmp_path: Path) -> None:
    """A recorder that tunes in keeps the headers, and then the numbers jump; nothing is lost."""
    whole = pages(ogg(tmp_path, "libopus"))
    heard = hear(stored(tmp_path, b"".join(whole[:2] + whole[6:])))
    assert heard.length_s < 4
    assert "hole" not in heard.notes


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("is_blank", [True, False])
def test_damage_in_the_first_pages_of_sound_is_found(
    codec: str, count: int, is_blank: bool, tmp_path: Path
) -> None:
    """A gap in which damaged pages stand is not that of a recorder that tuned in."""
    whole = pages(ogg(tmp_path, codec))
    first = next(
        number for number, page in enumerate(whole) if int.from_bytes(page[6:14], "little")
    )
    changed = list(whole)
    for number in range(first, first + count):
        page = bytearray(whole[number])
        page[len(page) // 2] ^= 1
        changed[number] = bytes(len(page)) if is_blank else bytes(page)
    assert f"damaged: {count} of" in refusal(stored(tmp_path, b"".join(changed)))


def test_text_full_of_page_marks_is_searched_in_bounded_time(tmp_path: Path) -> None:
    """Bytes that begin like pages and are none end the search."""
    content = ogg(tmp_path, "libopus") + b"OggS\0" * 100_000
    with byte_source(stored(tmp_path, content)) as source:
        assert links_of(source)[0].is_cut
