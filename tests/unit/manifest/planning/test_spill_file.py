"""The temporary file of a large plan."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.manifest.planning.spill_file import FileScratch


def open_files() -> list[str]:
    """What this process has open, as the system calls it."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # the listing itself
            continue
    return found


def test_what_was_appended_is_read_back_from_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    scratch = FileScratch()
    for number in range(100):
        scratch.append(b"%04d" % number)

    assert [scratch.read(4 * number, 4) for number in (99, 0, 50)] == [b"0099", b"0000", b"0050"]
    assert list(tmp_path.iterdir()) == [], "nothing to be left behind by a kill"
    assert any(str(tmp_path) in name for name in open_files())


def test_the_file_is_made_only_when_it_is_needed_and_goes_with_the_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    scratch = FileScratch()

    assert not any(str(tmp_path) in name for name in open_files())

    scratch.append(b"something")
    del scratch

    assert not any(str(tmp_path) in name for name in open_files())


def test_a_folder_that_cannot_be_written_to_means_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    scratch = FileScratch()
    scratch.append(b"abcd")
    scratch.append(b"efgh")

    assert scratch.read(4, 4) == b"efgh"


@pytest.mark.parametrize("written", [0, 3, None], ids=["nothing more", "a part", "an error"])
def test_a_full_disk_means_memory_from_then_on(
    monkeypatch: pytest.MonkeyPatch, written: int | None
) -> None:
    scratch = FileScratch()
    scratch.append(b"abcd")
    real = os.pwrite

    def full(file: int, data: bytes, offset: int) -> int:
        if written is None:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(file, data[:written], offset)

    monkeypatch.setattr("os.pwrite", full)
    scratch.append(b"efgh")
    monkeypatch.setattr("os.pwrite", real)
    scratch.append(b"ijkl")

    assert [scratch.read(offset, 4) for offset in (0, 4, 8)] == [b"abcd", b"efgh", b"ijkl"]


def test_a_disk_that_gives_nothing_back_is_told_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    scratch = FileScratch()
    scratch.append(b"abcd")
    monkeypatch.setattr("os.pread", broken)

    with pytest.raises(ConfigError, match=r"cannot be read back: Input/output error\. .*TMPDIR"):
        scratch.read(0, 4)
