"""File locks and atomic writes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from orchestrator.durable import (
    DISK_FULL,
    FileLock,
    broken_link,
    reason_of,
    unwritable,
    write_atomically,
)

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys
from pathlib import Path
from orchestrator.durable import FileLock
lock = FileLock(Path(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"True\n"
        assert not FileLock(path).acquire()
        assert not FileLock(path).is_free()
        holder.kill()
        holder.wait()

    assert FileLock(path).is_free()
    lock = FileLock(path)
    assert lock.acquire()
    lock.release()


def test_a_locked_file_keeps_its_content_and_stays_unless_it_is_to_be_removed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "report.jsonl"
    path.write_text("rows")
    lock = FileLock(path)
    assert lock.acquire()
    assert not FileLock(path).acquire()
    path.read_text()  # closing the file once does not end the lock
    assert not FileLock(path).acquire()
    lock.release()
    assert path.read_text() == "rows"

    assert lock.acquire()
    lock.release(removes=True)
    assert not path.exists()


def test_asking_for_a_lock_makes_no_file(tmp_path: Path) -> None:
    assert FileLock(tmp_path / "lock").is_free()
    assert list(tmp_path.iterdir()) == []


def test_an_atomic_write_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_atomically(path, b"old")
    write_atomically(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_atomic_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(path, b"new")

    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, *DISK_FULL])
def test_another_name_is_no_advice_for_a_full_disk(number: int) -> None:
    error = OSError(number, os.strerror(number))
    step = "Make room, then try again." if number in DISK_FULL else "Choose another with -o."

    text = unwritable("a.csv", error, "Choose another with -o.")

    assert text == f"a.csv cannot be written: {os.strerror(number)}. {step}"


@pytest.mark.parametrize("path", ["link", "link/below/file"])
def test_a_link_that_leads_nowhere_is_named_in_place_of_the_systems_words(
    tmp_path: Path, path: str
) -> None:
    """The system says that a file exists, or that a folder is not one."""
    link = tmp_path / "link"
    link.symlink_to("/absent/disk")

    with pytest.raises(OSError, match=r"File exists|Not a directory|No such file") as raised:
        (tmp_path / path).mkdir(parents=True)

    wanted = f"{link} is a symbolic link that leads nowhere (to /absent/disk)"
    assert broken_link(tmp_path / path) == wanted
    assert reason_of(raised.value) == wanted
    assert unwritable("x", raised.value, "Choose.") == f"x cannot be written: {wanted}. Choose."


def test_a_loop_of_links_leads_nowhere(tmp_path: Path) -> None:
    """It neither exists nor ends."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    assert broken_link(tmp_path / "a").endswith("leads nowhere (to b)")


def test_a_link_to_something_is_no_fault(tmp_path: Path) -> None:
    """Nor is a path that does not exist yet."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")

    assert broken_link(tmp_path / "link/new/file") == ""
    assert broken_link(tmp_path / "new") == ""
    assert reason_of(OSError(28, "No space left on device")) == "No space left on device"
