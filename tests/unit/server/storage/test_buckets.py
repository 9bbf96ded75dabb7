"""Buckets whose folders are outside the root."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.server.http.errors import Refusal
from orchestrator.server.storage.metadata import ObjectIndex
from orchestrator.server.storage.objects import Objects

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    """Storage with one bucket outside its root."""
    (tmp_path / "root/.service").mkdir(parents=True)
    index = ObjectIndex(tmp_path / "root/.service/objects.db")
    return Objects(tmp_path / "root", index, {"talks": tmp_path / "music"}, durable=False)


def store(objects: Objects, bucket: str, key: str) -> None:
    temporary = objects.temporary(bucket)
    temporary.write_bytes(b"sound")
    objects.adopt(bucket, key, temporary)


def test_a_bucket_outside_the_root_is_written_read_and_deleted_in_place(
    objects: Objects, tmp_path: Path
) -> None:
    store(objects, "talks", "in/a.mp3")

    assert (tmp_path / "music/in/a.mp3").read_bytes() == b"sound"
    assert objects.head("talks", "in/a.mp3").size == 5
    assert objects.path_of("talks", "in/a.mp3") == tmp_path / "music/in/a.mp3"
    objects.delete("talks", "in/a.mp3")
    assert objects.path_of("talks", "in/a.mp3") is None
    assert not (tmp_path / "root/talks").exists()


def test_other_buckets_stay_in_the_root(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="does not exist here"):
        store(objects, "media-1250000000", "a.mp3")
    objects.make_bucket("media-1250000000")
    store(objects, "media-1250000000", "a.mp3")

    assert (tmp_path / "root/media-1250000000/a.mp3").exists()


def test_reading_does_not_make_the_folder(objects: Objects, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=str(tmp_path / "music")):
        objects.head("talks", "in/a.mp3")

    assert not (tmp_path / "music").exists()


def test_no_key_leaves_a_bucket_outside_the_root(objects: Objects, tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    (tmp_path / "music/door").symlink_to(tmp_path)
    (tmp_path / "secret.mp3").touch()

    assert objects.path_of("talks", "../secret.mp3") is None
    assert objects.path_of("talks", "door/secret.mp3") is None
