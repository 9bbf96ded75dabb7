"""Edit lists of mp4 and mov files: parts, silences and ends, to the sample."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest

from orchestrator.separation.media.byte_source import byte_source
from orchestrator.separation.media.spans import edit_list
from tests.integration.separation.media.listen import RATE, hear, refusal
from tests.sound_files import Track, write_film

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SILENT = -1
KINDS = [("mov", "pcm_s16le"), ("m4a", "alac")]
TICK = 1 / 1000
"""The unit of the lengths in the files that FFmpeg writes."""


def sweep(seconds: float = 3.0) -> npt.NDArray[np.float32]:
    """Return a rising tone, which is different at every instant."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * (300 + 200 * time_s) * time_s)).astype(np.float32)


def song(folder: Path, ext: str, codec: str, edits: list[tuple[float, float]]) -> Path:
    """Write a sound of 3 s, with an edit list of lengths and starts in seconds."""
    path = folder / f"song.{ext}"
    name = "ipod" if ext == "m4a" else None
    write_film(path, Track([(0, sweep()[np.newaxis])], codec), container=name)
    content = path.read_bytes()
    entries = b"".join(
        struct.pack(
            ">IiI",
            round(length * 1000),
            SILENT if start == SILENT else round(start * RATE),
            1 << 16,
        )
        for length, start in edits
    )
    box = _box(b"edts", _box(b"elst", struct.pack(">II", 0, len(edits)) + entries))
    at = content.index(b"edts") - 4
    old = int.from_bytes(content[at : at + 4], "big")
    content = content[:at] + box + content[at + old :]
    for name_of_box in (b"trak", b"moov"):  # the index is the last part of the file
        start = content.index(name_of_box) - 4
        size = int.from_bytes(content[start : start + 4], "big") + len(box) - old
        content = content[:start] + size.to_bytes(4, "big") + content[start + 4 :]
    path.write_bytes(content)
    return path


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + name + content


def played(edits: list[tuple[float, float]]) -> npt.NDArray[np.float32]:
    """Return what an edit list plays."""
    sound, parts = sweep(), []
    for length, start in edits:
        count, first = round(length * RATE), round(start * RATE)
        silence = np.zeros(count, np.float32)
        parts.append(silence if start == SILENT else sound[first : first + count])
    return np.concatenate(parts)


@pytest.mark.parametrize(("ext", "codec"), KINDS)
@pytest.mark.parametrize(
    "edits",
    [
        [(1, 0), (1, SILENT), (2, 1)],
        [(3, 0), (1.5, SILENT)],
        [(0.5, SILENT), (1, 0), (1, 2)],
        [(1, 2), (1, 0)],
        [(1, 0), (1, 0), (1, 0)],
        [(1.234, 0.5), (0.777, 1.8)],
    ],
)
def test_the_parts_of_an_edit_list_have_their_places(
    ext: str, codec: str, edits: list[tuple[float, float]], tmp_path: Path
) -> None:
    """Each part and each silence is as long as stated, in the order that is stated."""
    heard = hear(song(tmp_path, ext, codec, edits))
    wanted = played(edits)
    assert len(heard.sound) == pytest.approx(len(wanted), abs=len(edits))
    count = min(len(heard.sound), len(wanted))
    assert np.abs(heard.sound[:count, 0] - wanted[:count]).max() < 0.02
    parts = sum(start != SILENT for _, start in edits)
    assert f"plays {parts} part{'s' if parts > 1 else ''} of its sound" in heard.notes
    assert "hole" not in heard.notes
    assert "overlap" not in heard.notes


@pytest.mark.parametrize(("ext", "codec"), KINDS)
@pytest.mark.parametrize("start", [0, 0.5])
def test_an_edit_list_ends_within_a_packet(
    ext: str, codec: str, start: float, tmp_path: Path
) -> None:
    """The rest of the last packet is not played."""
    heard = hear(song(tmp_path, ext, codec, [(2, start)]))
    assert heard.length_s == pytest.approx(2, abs=1.5 * TICK)
    assert np.abs(heard.sound[: 2 * RATE, 0] - played([(2, start)])).max() < 0.001
    assert heard.notes == ""


def test_an_edit_without_a_length_is_the_whole_sound(tmp_path: Path) -> None:
    """Some writers do not fill it in, or round it to 0."""
    assert hear(song(tmp_path, "mov", "pcm_s16le", [(0, 0)])).length_s == 3.0


def test_the_edit_list_of_a_fragmented_film_is_not_followed(tmp_path: Path) -> None:
    """More sound follows behind the index, whose lengths say nothing."""
    path = song(tmp_path, "mov", "pcm_s16le", [(0, 0)])
    with byte_source(path) as source:
        assert edit_list(source, 1) is not None
    path.write_bytes(path.read_bytes().replace(b"udta", b"mvex"))
    with byte_source(path) as source:
        assert edit_list(source, 1) is None


def test_an_edited_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """Its index states where the sound ends."""
    path = song(tmp_path, "mov", "pcm_s16le", [(1, 0), (1, SILENT), (1, 1)])
    table = bytearray(path.read_bytes())
    chunk = table.index(b"stco")
    count = int.from_bytes(table[chunk + 8 : chunk + 12], "big")
    for entry in range(chunk + 12, chunk + 12 + 4 * count, 4):
        place = int.from_bytes(table[entry : entry + 4], "big") + 100_000  # as without the end
        table[entry : entry + 4] = place.to_bytes(4, "big")
    path.write_bytes(bytes(table))
    assert "cut off" in refusal(path)


def test_an_edit_list_of_too_many_parts_is_refused(tmp_path: Path) -> None:
    """Each part is opened by itself, which takes a time."""
    path = song(tmp_path, "mov", "pcm_s16le", [(0.01, 0)] * 1001)
    assert "1,001 parts" in refusal(path)
