"""Sounds are outlined in a process of their own, which a bad file cannot take with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.media.waveform import STEPS
from orchestrator.separation.outlines import OutlineProcess
from tests.sound_files import Track, tone, write_film

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write_film(tmp_path / "a \u2028 ü.wav", Track([(0, tone(1))]))


def test_good_and_bad_files_are_outlined_one_after_the_other(tmp_path: Path, sound: Path) -> None:
    (tmp_path / "a.txt").write_text("not a sound")

    with OutlineProcess(60) as process:
        found = [process.outline(path) for path in (sound, tmp_path / "a.txt", tmp_path, sound)]

    assert [len(outline) for outline in found] == [2 * STEPS, 0, 0, 2 * STEPS]


def test_a_file_that_takes_too_long_has_no_outline_and_the_next_one_does(sound: Path) -> None:
    with OutlineProcess(0) as process:
        assert process.outline(sound) == b""
        process._patience_s = 60
        assert len(process.outline(sound)) == 2 * STEPS


def test_a_process_that_dies_of_a_file_is_started_again(sound: Path) -> None:
    with OutlineProcess(60, memory_bytes=1 << 20) as process:  # too little for any work
        assert process.outline(sound) == b""
        process._memory_bytes = 1 << 30
        assert len(process.outline(sound)) == 2 * STEPS
