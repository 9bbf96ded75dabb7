"""Files that were joined byte by byte: the sound of the first one is not the whole sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.integration.separation.media.listen import hear, refusal
from tests.sound_files import RATE, Track, tone, write_film

if TYPE_CHECKING:
    from pathlib import Path

KINDS = [
    ("wav", "pcm_s16le"),
    ("w64", "pcm_s16le"),
    ("aiff", "pcm_s16be"),
    ("au", "pcm_s16be"),
    ("caf", "pcm_s16be"),
    ("voc", "pcm_s16le"),
    ("wv", "wavpack"),
    ("tta", "tta"),
    ("mp4", "aac"),
    ("m4a", "alac"),
    ("mov", "pcm_s16le"),
    ("asf", "wmav2"),
    ("rm", "ac3"),
]


def written(path: Path, codec: str) -> bytes:
    sound = tone(1)
    layout = "stereo" if codec == "wmav2" else "mono"
    sound = np.repeat(sound, 2, axis=0) if layout == "stereo" else sound
    return write_film(path, Track([(0, sound)], codec, layout=layout)).read_bytes()


@pytest.mark.parametrize(("ext", "codec"), KINDS)
def test_joined_files_of_other_kinds_are_refused(ext: str, codec: str, tmp_path: Path) -> None:
    """The message says where the second file begins."""
    path = tmp_path / f"sound.{ext}"
    one = written(path, codec)
    assert hear(path).length_s == pytest.approx(1, abs=0.1)
    path.write_bytes(one + one)
    message = refusal(path)
    assert "several files that were joined" in message
    assert f"another one begins at byte {len(one):,}" in message


@pytest.mark.parametrize(("ext", "codec"), [("wv", "wavpack"), ("tta", "tta")])
def test_tags_may_stand_between_joined_files(ext: str, codec: str, tmp_path: Path) -> None:
    """The second file is found behind a tag of the first one."""
    path = tmp_path / f"sound.{ext}"
    one = written(path, codec) + b"TAG" + bytes(125)
    path.write_bytes(one)
    assert hear(path).length_s == pytest.approx(1, abs=0.1)
    path.write_bytes(one + one)
    assert f"begins at byte {len(one):,}" in refusal(path)


def test_a_wave_file_with_two_parts_of_sound_is_refused(tmp_path: Path) -> None:
    """FFmpeg reads the first data chunk only."""
    path = tmp_path / "sound.wav"
    one = written(path, "pcm_s16le")
    chunk = one[one.index(b"data") :]
    path.write_bytes(one + b"LIST\x04\0\0\0INFO" + chunk)
    assert "several files that were joined" in refusal(path)
    path.write_bytes(one + b"LIST\x04\0\0\0INFO")
    assert len(hear(path).sound) == RATE
