"""Waveforms are computed once for each file, and not for longer than one wants to wait."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from orchestrator.commands import waveforms
from orchestrator.commands.waveforms import draw
from orchestrator.separation.outlines import OutlineProcess

if TYPE_CHECKING:
    from pathlib import Path


class SetClock:
    """Time that is set by hand."""

    at = 0.0

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, delay_s: float) -> None:
        self.at += delay_s


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose waveforms were computed; each takes a second."""
    found: list[str] = []

    def outline(_: object, path: Path) -> bytes:
        found.append(path.name)
        CLOCK.at += 1
        return b"" if path.suffix == ".txt" else b"\x00\x01"

    monkeypatch.setattr(OutlineProcess, "outline", outline)
    monkeypatch.setattr(waveforms, "find_spec", lambda _: object())
    return found


CLOCK = SetClock()


def library(folder: Path, *names: str) -> dict[str, dict[str, Path]]:
    for name in names:
        (folder / name).write_bytes(b"sound")
    return {f"v1.{name}": {"voice": folder / name} for name in names}


def test_a_file_is_computed_once(tmp_path: Path, computed: list[str]) -> None:
    files = library(tmp_path, "a.mp3", "b.txt")

    first = draw(files, tmp_path / "cache.db", CLOCK)
    second = draw(files, tmp_path / "cache.db", CLOCK)

    assert computed == ["a.mp3", "b.txt"]
    assert first == second
    assert first.by_key == {"v1.a.mp3": {"voice": b"\x00\x01"}}


@pytest.mark.parametrize("change", ["size", "time"])
def test_a_changed_file_is_computed_again(tmp_path: Path, computed: list[str], change: str) -> None:
    files = library(tmp_path, "a.mp3")
    draw(files, tmp_path / "cache.db", CLOCK)

    if change == "size":
        found = (tmp_path / "a.mp3").stat()
        (tmp_path / "a.mp3").write_bytes(b"longer sound")
        os.utime(tmp_path / "a.mp3", ns=(found.st_atime_ns, found.st_mtime_ns))
    else:
        os.utime(tmp_path / "a.mp3", (1, 1))
    draw(files, tmp_path / "cache.db", CLOCK)

    assert computed == ["a.mp3", "a.mp3"]


def test_the_time_is_bounded_and_the_next_page_draws_more(
    tmp_path: Path, computed: list[str]
) -> None:
    files = library(tmp_path, *(f"{number}.mp3" for number in range(5)))

    first = draw(files, tmp_path / "cache.db", CLOCK, limit_s=2)
    second = draw(files, tmp_path / "cache.db", CLOCK, limit_s=60)

    assert (len(first.by_key), first.missing) == (2, 3)
    assert (len(second.by_key), second.missing) == (5, 0)
    assert len(computed) == 5


def test_a_cache_that_cannot_be_written_changes_nothing_else(
    tmp_path: Path, computed: list[str]
) -> None:
    files = library(tmp_path, "a.mp3")

    for cache in (tmp_path, tmp_path / "a.mp3", tmp_path / "a.mp3" / "cache.db"):
        assert len(draw(files, cache, CLOCK).by_key) == 1
    assert (tmp_path / "a.mp3").read_bytes() == b"sound"


def test_without_a_decoder_the_page_has_what_is_known(
    tmp_path: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(library(tmp_path, "a.mp3"), tmp_path / "cache.db", CLOCK)
    monkeypatch.setattr(waveforms, "find_spec", lambda _: None)

    found = draw(library(tmp_path, "a.mp3", "b.mp3"), tmp_path / "cache.db", CLOCK)

    assert computed == ["a.mp3"]
    assert not found.is_able


def test_a_file_that_is_gone_has_no_waveform(tmp_path: Path) -> None:
    found = draw({"v1.a": {"voice": tmp_path / "gone.mp3"}}, tmp_path / "cache.db", CLOCK)

    assert found.by_key == {}
