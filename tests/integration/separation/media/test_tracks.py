"""The best track is chosen: one that can be decoded, and one that is meant for everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from av.stream import Disposition

from tests.integration.separation.media.listen import RATE, hear, refusal
from tests.sound_files import Track, tone, write_film

if TYPE_CHECKING:
    from pathlib import Path

OTHER = [
    (Disposition.comment, "a commentary"),
    (Disposition.visual_impaired, "a description for the blind"),
    (Disposition.hearing_impaired, "a version for the hearing impaired"),
]
LOW, HIGH = 300.0, 1200.0
NO_FLAGS = Disposition(0)


def pitch(path: Path) -> float:
    """Return the pitch of a file's sound in hertz."""
    sound = hear(path).sound[:RATE, 0]
    return float(np.argmax(np.abs(np.fft.rfft(sound)))) * RATE / len(sound)


def film(path: Path, *tracks: Track) -> Path:
    return write_film(path, *tracks, picture_s=1)


@pytest.mark.parametrize(("flag", "name"), OTHER)
@pytest.mark.parametrize("first", [True, False])
def test_a_flagged_track_is_passed_over(
    flag: Disposition, name: str, first: bool, tmp_path: Path
) -> None:
    """A commentary is not separated, even if it stands first, is the default, and has more."""
    stereo = np.repeat(tone(2, HIGH), 2, axis=0)
    other = Track([(0, stereo)], layout="stereo", flags=flag | Disposition.default)
    main = Track([(0, tone(2, LOW))])
    path = film(tmp_path / "film.mkv", *([other, main] if first else [main, other]))
    assert pitch(path) == pytest.approx(LOW, abs=2)
    notes = hear(path).notes
    number = 2 if first else 1
    assert f"Of 2 audio tracks, track {number} was separated" in notes
    assert name in notes


def test_a_lone_flagged_track_is_separated(tmp_path: Path) -> None:
    """A file that is a commentary has nothing else, and nothing to say about it."""
    track = Track([(0, tone(2, HIGH))], flags=Disposition.comment)
    path = film(tmp_path / "film.mkv", track)
    assert pitch(path) == pytest.approx(HIGH, abs=2)
    assert hear(path).notes == ""


def test_the_default_track_is_preferred(tmp_path: Path) -> None:
    """Among equal tracks, the default one is chosen; the result says which, and its language."""
    tracks = [
        Track([(0, tone(2, LOW))], metadata={"language": "eng"}),
        Track([(0, tone(2, HIGH))], flags=Disposition.default, metadata={"language": "ger"}),
    ]
    path = film(tmp_path / "film.mkv", *tracks)
    assert pitch(path) == pytest.approx(HIGH, abs=2)
    assert "track 2 was separated: pcm_s16le, 1 channel, language ger" in hear(path).notes


MONO, STEREO, WIDE = ("mono", 1), ("stereo", 2), ("5.1", 6)


def track(
    layout: tuple[str, int], hertz: float, codec: str = "flac", flags: Disposition = NO_FLAGS
) -> Track:
    """Return a track of a tone in all of its channels."""
    name, count = layout
    return Track([(0, np.repeat(tone(2, hertz), count, axis=0))], codec, layout=name, flags=flags)


def test_more_channels_are_preferred(tmp_path: Path) -> None:
    """Among tracks of the same flag, the one with the most channels is chosen."""
    tracks = [track(MONO, LOW), track(WIDE, HIGH), track(STEREO, LOW)]
    path = film(tmp_path / "film.mkv", *tracks)
    assert pitch(path) == pytest.approx(HIGH, abs=2)
    assert "Of 3 audio tracks, track 2 was separated: flac, 6 channels." in hear(path).notes


def test_the_order_holds_behind_a_track_that_is_passed_over(tmp_path: Path) -> None:
    """The best of the others is chosen, not the first."""
    comment = track(STEREO, LOW, flags=Disposition.comment | Disposition.default)
    path = film(tmp_path / "film.mkv", comment, track(MONO, LOW), track(WIDE, HIGH))
    assert pitch(path) == pytest.approx(HIGH, abs=2)
    default = track(MONO, HIGH, flags=Disposition.default)
    path = film(tmp_path / "two.mkv", comment, track(WIDE, LOW), default)
    assert pitch(path) == pytest.approx(HIGH, abs=2)


def test_a_higher_bitrate_is_preferred(tmp_path: Path) -> None:
    """Among tracks of as many channels, the one with more bits is chosen."""
    low = track(STEREO, LOW, "ac3")
    high = track(STEREO, HIGH, "pcm_s16le")
    path = film(tmp_path / "film.avi", low, high)
    assert pitch(path) == pytest.approx(HIGH, abs=2)


def test_a_track_that_fails_to_decode_is_passed_over(tmp_path: Path) -> None:
    """A codec that is known does not mean that the sound can be decoded."""
    stereo = np.repeat(tone(2, HIGH), 2, axis=0)
    bad = Track([(0, stereo)], "flac", layout="stereo", flags=Disposition.default)
    path = film(tmp_path / "film.mkv", bad, Track([(0, tone(2, LOW))]))
    content = bytearray(path.read_bytes())
    at = 0
    while (at := content.find(b"\xff\xf8", at)) >= 0:  # every FLAC frame begins so
        content[at : at + 2] = b"\0\0"
        at += 2
    path.write_bytes(content)
    assert pitch(path) == pytest.approx(LOW, abs=2)
    assert "track 1 cannot be decoded" in hear(path).notes


def test_an_encrypted_song_is_refused_by_name(tmp_path: Path) -> None:
    """Its tracks have a codec, but their content is protected."""
    key = "00112233445566778899aabbccddeeff"
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": key,
        "encryption_kid": key,
    }
    path = write_film(tmp_path / "song.mp4", Track([(0, tone(2))], "aac"), options=options)
    assert "encrypted" in refusal(path)
    assert "protected" in refusal(path)


def element(name: str, content: bytes) -> bytes:
    """Return a Matroska element with a size of eight bytes."""
    return bytes.fromhex(name) + (len(content) | 1 << 56).to_bytes(8, "big") + content


def encrypt(path: Path, number: int) -> None:
    """Say in the header of a Matroska file that a track is encrypted (its scheme is AES)."""
    content = path.read_bytes()
    scheme = element("5033", b"\1") + element("5035", element("47E1", b"\5"))
    encodings = element("6D80", element("6240", scheme))
    tracks = content.rindex(bytes.fromhex("1654AE6B")) + 4  # the first one is in the index
    size_bytes = 9 - content[tracks].bit_length()
    start = tracks + size_bytes
    size = int.from_bytes(content[tracks:start], "big") & (1 << 7 * size_bytes) - 1
    entries, at = [], start
    while at < start + size:
        width = 9 - content[at + 1].bit_length()
        length = int.from_bytes(content[at + 1 : at + 1 + width], "big") & (1 << 7 * width) - 1
        end = at + 1 + width + length
        if content[at] == 0xAE:
            entries.append(content[at + 1 + width : end])
        at = end
    entries[number] += encodings
    body = element("1654AE6B", b"".join(element("AE", entry) for entry in entries))
    segment = content.index(bytes.fromhex("18538067"))
    unknown = bytes.fromhex("1853806701FFFFFFFFFFFFFF")
    head = content[:segment] + unknown + content[segment + 12 : tracks - 4]
    path.write_bytes(head + body + content[start + size :])


@pytest.mark.parametrize("ext", ["webm", "mkv"])
def test_an_encrypted_webm_is_refused_by_name(ext: str, tmp_path: Path) -> None:
    """FFmpeg does not know that the sound is encrypted, and would decode it to noise."""
    sound = Track([(0, tone(2, rate=48000))], "libopus", rate=48000)
    path = write_film(tmp_path / f"song.{ext}", sound)
    encrypt(path, 0)
    assert "an encrypted Matroska or WebM file" in refusal(path)


def test_an_encrypted_track_of_a_film_is_passed_over(tmp_path: Path) -> None:
    """Another track may be free."""
    path = film(tmp_path / "film.mkv", track(WIDE, LOW), track(MONO, HIGH))
    encrypt(path, 1)
    assert pitch(path) == pytest.approx(HIGH, abs=2)
    assert "track 1 cannot be decoded" in hear(path).notes


@pytest.mark.parametrize("options", [{}, {"mpegts_m2ts_mode": "1"}])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_scrambled_transport_stream_is_refused_by_name(
    options: dict[str, str], share: float, tmp_path: Path
) -> None:
    """Its packets say so, from the beginning or from an instant on."""
    path = tmp_path / "film.ts"
    write_film(path, Track([(0, tone(20))], "mp2"), options=options)
    content = bytearray(path.read_bytes())
    size, first = (192, 4) if options else (188, 0)
    for at in range(first, len(content), size):
        number = (content[at + 1] & 0x1F) << 8 | content[at + 2]
        if number in {0x100, 0x1100} and at >= share * len(content):
            content[at + 3] |= 0x80
    assert hear(path).length_s == pytest.approx(20, abs=0.1)
    path.write_bytes(content)
    assert "a scrambled transport stream" in refusal(path)
