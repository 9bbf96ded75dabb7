"""A folder tree is listed in the order of UTF-8 keys, page by page, each key once."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.remote import SkipReason
from orchestrator.server.storage import listing
from orchestrator.server.storage.listing import Folders, page

SEGMENT = st.sampled_from(["a", "a-", "a.txt", "a0", "b", "ab", "é", "音", "z", "A", "~"])
if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = st.lists(st.lists(SEGMENT, min_size=1, max_size=4).map("/".join), max_size=25)


def store(bucket: Path, keys: list[str]) -> list[bytes]:
    """Make the files, and return the stored keys in order (no file is a folder too)."""
    for key in keys:
        path = bucket / key
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except OSError:
            continue
    return sorted(
        str(path.relative_to(bucket)).encode() for path in bucket.rglob("*") if path.is_file()
    )


def expected(keys: list[bytes], prefix: bytes, delimiter: bytes, marker: bytes) -> list[bytes]:
    """Compute a full listing the simple way, by the rules of the vendor's page."""
    entries = []
    for key in keys:
        if key.startswith(prefix):
            end = key.find(delimiter, len(prefix)) if delimiter else -1
            entries.append(key if end < 0 else key[: end + len(delimiter)])
    return sorted({entry for entry in entries if entry > marker})


def all_pages(
    folders: Folders, bucket: Path, prefix: bytes, delimiter: bytes, marker: bytes, size: int
) -> list[bytes]:
    """Return every entry of all pages."""
    seen: list[bytes] = []
    while True:
        found = page(folders, bucket, prefix, delimiter, marker, size)
        entries = sorted([key for key, _ in found.files] + found.prefixes)
        assert len(entries) <= size
        seen += entries
        if not found.truncated:
            return seen
        marker = found.last
        assert marker == entries[-1]


@settings(max_examples=100, deadline=None)
@given(
    keys=KEYS,
    prefix=st.sampled_from(["", "a", "a/", "a/a", "a.", "é", "a/b/", "b/a-", "zz"]),
    delimiter=st.sampled_from(["", "/", "a", "-"]),
    size=st.integers(1, 5),
    block=st.integers(1, 4),
)
def test_all_pages_together_are_the_whole_listing(
    keys: list[str], prefix: str, delimiter: str, size: int, block: int
) -> None:
    with TemporaryDirectory() as name:
        stored = store(Path(name), keys)

        seen = all_pages(Folders(block), Path(name), prefix.encode(), delimiter.encode(), b"", size)

        assert seen == expected(stored, prefix.encode(), delimiter.encode(), b"")


@settings(max_examples=100, deadline=None)
@given(
    keys=KEYS,
    prefix=st.sampled_from(["", "a", "a/"]),
    marker=st.lists(SEGMENT, max_size=4).map("/".join),
    block=st.integers(1, 4),
)
def test_a_listing_continues_after_any_marker(
    keys: list[str], prefix: str, marker: str, block: int
) -> None:
    with TemporaryDirectory() as name:
        stored = store(Path(name), keys)

        seen = all_pages(Folders(block), Path(name), prefix.encode(), b"", marker.encode(), 3)

        assert seen == expected(stored, prefix.encode(), b"", marker.encode())


def test_unchanged_keys_are_listed_once_while_others_come_and_go(
    tmp_path: Path,
) -> None:
    lasting = [f"k{number:04d}" for number in range(0, 400, 2)]
    store(tmp_path, lasting)
    folders, seen, marker = Folders(block=7), [], b""
    for turn in range(1000):
        (tmp_path / f"k{(turn * 37) % 400 | 1:04d}").touch()
        (tmp_path / f"k{(turn * 53) % 400 | 1:04d}").unlink(missing_ok=True)
        found = page(folders, tmp_path, b"", b"", marker, 5)
        seen += [key.decode() for key, _ in found.files]
        if not found.truncated:
            break
        marker = found.last

    assert [key for key in seen if int(key[1:]) % 2 == 0] == lasting
    assert len(set(seen)) == len(seen)


def test_links_own_files_and_invalid_keys_are_not_listed(tmp_path: Path) -> None:
    store(tmp_path, ["a", "dir/b", ".service/tmp/x", "dir/.service/y"])
    store(tmp_path, ["dir/in/.Service/x", ".orchestrator/x", "dir/.orchestrator/x"])
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    Path(os.fsdecode(bytes(tmp_path) + b"/not-utf8-\xff")).touch()
    (tmp_path / "line\nbreak").touch()
    os.mkfifo(tmp_path / "pipe")

    skipped: list[tuple[bytes, SkipReason]] = []
    assert [key for key, _ in listing.walk(Folders(), tmp_path, b"", b"", skipped)] == [
        b"a",
        b"dir/b",
    ]
    assert skipped == [
        (b"line\nbreak", SkipReason.IMPOSSIBLE),
        (b"link", SkipReason.LINK),
        (b"loop/", SkipReason.LINK),
        (b"not-utf8-\xff", SkipReason.NOT_UTF_8),
        (b"pipe", SkipReason.SPECIAL),
    ]
    assert list(listing.walk(Folders(), tmp_path, b"loop/", b"", skipped)) == []
    for prefix in (b"../", b"dir/.service/", b"dir/.service/y", b".orchestrator/"):
        assert list(listing.walk(Folders(), tmp_path, prefix, b"", skipped)) == []


def test_a_folder_that_cannot_be_read_is_skipped_and_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(tmp_path, ["a", "b/c", "d"])
    scan = os.scandir

    def guarded(folder: str) -> Iterator[os.DirEntry[str]]:
        if folder.endswith("/b"):
            raise PermissionError
        return scan(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    folders = Folders()
    first = page(folders, tmp_path, b"", b"", b"", 1)
    second = page(folders, tmp_path, b"", b"", first.last, 1)

    assert [first.files[0][0], second.files[0][0]] == [b"a", b"d"]
    assert [*first.skipped, *second.skipped] == [(b"b/", SkipReason.UNREADABLE)]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("block", [1, 2, 50])
def test_a_skipped_file_is_on_exactly_one_page(tmp_path: Path, size: int, block: int) -> None:
    store(tmp_path, [f"in/{number}.wav" for number in range(6)])
    links = [f"in/{number}-link.wav" for number in range(6)] + ["in/z.wav", "in/0.wav.link"]
    for name in links:
        (tmp_path / name).symlink_to(tmp_path / "in/0.wav")
    folders, seen, marker = Folders(block), [], b""
    while True:
        found = page(folders, tmp_path, b"in/", b"", marker, size)
        seen += [name.decode() for name, _ in found.skipped]
        marker = found.last
        if not found.truncated:
            break

    assert sorted(seen) == sorted(links)
