"""Folders that receive stems, before the first job."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from orchestrator.commands.preflight import check_folder, make_outputs, output_folders
from orchestrator.errors import ConfigError, DiskFull
from orchestrator.manifest import Manifest, load_manifest


def loaded(folder: Path, text: str) -> Manifest:
    (folder / "talks").mkdir(exist_ok=True)
    (folder / "m.yaml").write_text(text)
    return load_manifest(folder / "m.yaml")


def test_the_folders_of_the_stems_are_made_if_the_manifest_names_them(tmp_path: Path) -> None:
    manifest = loaded(
        tmp_path,
        'service: {local: {buckets: {out: deep/out, other: x}}}\n'
        'inputs:\n'
        '  - {folder: talks}\n'
        '  - {object: a.mp3, bucket: shelf, output: {voice: "s/{stem}"}}\n'
        '  - {folder: talks, output: {bucket: out, voice: "{stem}.mp3"}}\n',
    )  # fmt: skip
    ledger = str(tmp_path / "m.db")

    make_outputs(manifest, ledger)

    folders = [path.relative_to(tmp_path) for path in output_folders(manifest, ledger)]
    assert folders == [Path("stems"), Path("objects/shelf"), Path("deep/out")]
    assert (tmp_path / "stems").is_dir()
    assert (tmp_path / "deep/out").is_dir()
    assert not (tmp_path / "objects").exists()  # a bucket of the root is made by the user
    assert not (tmp_path / "x").exists()


def test_a_full_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))

    with pytest.raises(DiskFull, match="no space for stems"):
        check_folder(tmp_path / "not/there/yet")


def test_a_file_in_the_way_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(ConfigError, match="is a file, so no stems can be written"):
        check_folder(tmp_path / "file/stems")


def test_a_remote_manifest_has_no_such_folders(tmp_path: Path) -> None:
    manifest = loaded(
        tmp_path,
        "service: tencent\nbucket: media-1250000000\nregion: ap-chongqing\n"
        'inputs: [{object: a.mp3, output: {voice: "s/{stem}"}}]\n',
    )

    assert output_folders(manifest, str(tmp_path / "m.db")) == []
