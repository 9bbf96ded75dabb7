"""The temporary file of a large plan."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.manifest.planning.spill_file import FileScratch


def open_files() -> list[str]:
    """Return the open files of this process, by the names of the system."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.append(str(entry.readlink()))
        except FileNotFoundError:  # the listing itself
            continue
    return found


def test_appended_bytes_are_read_back_from_a_file_without_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    scratch = FileScratch()
    for number in range(100):
        scratch.append(b"%04d" % number)

    assert [scratch.read(4 * number, 4) for number in (99, 0, 50)] == [b"0099", b"0000", b"0050"]
    assert list(tmp_path.iterdir()) == [], "a killed process leaves no file"
    assert any(str(tmp_path) in name for name in open_files())


def test_the_file_is_created_when_needed_and_removed_with_the_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    scratch = FileScratch()

    assert not any(str(tmp_path) in name for name in open_files())

    scratch.append(b"something")
    del scratch

    assert not any(str(tmp_path) in name for name in open_files())


def test_bytes_stay_in_memory_if_no_file_can_be_created(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    scratch = FileScratch()
    scratch.append(b"abcd")
    scratch.append(b"efgh")

    assert scratch.read(4, 4) == b"efgh"


@pytest.mark.parametrize("written", [0, 3, None], ids=["nothing more", "a part", "an error"])
def test_bytes_stay_in_memory_after_the_disk_is_full(
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


def test_a_failing_disk_is_an_error_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    scratch = FileScratch()
    scratch.append(b"abcd")
    monkeypatch.setattr("os.pread", broken)

    with pytest.raises(ConfigError, match=r"cannot be read back: Input/output error\. .*TMPDIR"):
        scratch.read(0, 4)
