"""Manifests that ``init`` writes: they load, and run as they are."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from orchestrator.commands.init import STDOUT, init
from orchestrator.errors import ConfigError, ManifestError
from orchestrator.manifest import load_manifest
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.server.storage.folder_store import FolderStore

if TYPE_CHECKING:
    from orchestrator.manifest import Manifest


@pytest.fixture(autouse=True)
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with some music."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("My {Music}/a.mp3", "My {Music}/in/b.wav", "home/talks/c.mp3", "stems/d.mp3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


async def voices(manifest: Manifest) -> list[str]:
    async with FolderStore(manifest.folder / "root", manifest.buckets) as store:
        specs = [spec async for batch in Feed(manifest, store).specs() for spec in batch]
    return [f"{spec.media.key} > {spec.output.bucket}/{spec.output.voice}" for spec in specs]


@pytest.mark.parametrize(
    ("source", "output", "file", "folder"),
    [
        ("My {Music}", None, "my-music.yaml", '"My {{Music}}"'),
        ("My {Music}", "home/x.yaml", "home/x.yaml", None),
        ("home/talks", None, "talks.yaml", "home/talks"),
        ("home/talks", "My {Music}/m.yaml", "My {Music}/m.yaml", "~/talks"),
        ("stems", None, "stems.yaml", "stems"),
    ],
)
async def test_a_manifest_of_a_folder_runs_as_it_is(
    source: str, output: str | None, file: str, folder: str | None
) -> None:
    draft = init(source, Path(output) if output else None)

    assert draft.path == Path(file)
    assert not draft.note
    if folder:
        assert f"folder: {folder}\n" in draft.text
    manifest = load_manifest(draft.path)
    assert len(await voices(manifest)) == (2 if "Music" in source else 1)
    stems = "separated" if source == "stems" else "stems"
    assert manifest.buckets["stems"] == Path.cwd() / Path(file).parent / stems


async def test_without_a_source_it_is_the_current_folder(music: Path) -> None:
    os.chdir(music / "My {Music}")

    draft = init(None)

    assert draft.path == Path("my-music.yaml")
    assert "folder: .\n" in draft.text
    assert len(await voices(load_manifest(draft.path))) == 2


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("l.txt", "a.mp3\nin/b.wav\n", None),
        ("l.csv", "object,genre\na.mp3,x\nin/b.wav,y\n", None),
        ("l.csv", "id,Path\n1,a.mp3\n2,in/b.wav\n", 'object: "{Path}"'),
        ("l.tsv", "track\tid\na.mp3\t1\nin/b.wav\t2\n", 'object: "{track}"'),
        ("l.jsonl", '{"n": 1, "key": "a.mp3"}\n{"n": 2, "key": "in/b.wav"}\n', 'object: "{key}"'),
        ("l.csv.gz", "filename\na.mp3\nin/b.wav\n", 'object: "{filename}"'),
    ],
)  # fmt: skip
async def test_a_manifest_of_a_list_runs_as_it_is(
    name: str, content: str, line: str | None
) -> None:
    path = Path("My {Music}") / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())

    draft = init(str(path))

    assert draft.path == Path("l.yaml")
    assert (line or "list:") in draft.text
    assert line or "object:" not in draft.text
    assert await voices(load_manifest(draft.path)) == [
        f"{key} > stems/{key}/voice.${{ext}}" for key in ("a.mp3", "in/b.wav")
    ]


@pytest.mark.parametrize(
    ("source", "region", "file", "prefix"),
    [
        ("cos://media-1250000000/in/2026/", "ap-chongqing", "2026.yaml", "in/2026/"),
        ("cos://media-1250000000", "ap-chongqing", "media-1250000000.yaml", ""),
        ("https://media-1250000000.cos.ap-chongqing.myqcloud.com/in/", None, "in.yaml", "in/"),
    ],
)
def test_a_manifest_of_a_bucket_is_whole_if_the_region_is_known(
    source: str, region: str | None, file: str, prefix: str
) -> None:
    draft = init(source, region=region)
    manifest = load_manifest(draft.path)

    assert (str(draft.path), draft.note) == (file, "")
    assert (manifest.bucket, manifest.region) == ("media-1250000000", "ap-chongqing")
    assert not manifest.is_local
    assert manifest.inputs[0].prefix == prefix  # type: ignore[union-attr]
    assert manifest.canary == 3
    assert bool(manifest.inputs[0].exclude) == (not prefix)  # type: ignore[union-attr]


def test_an_unknown_region_is_a_placeholder_that_cannot_run() -> None:
    draft = init("cos://media-1250000000/in/")

    assert draft.note.startswith("Write the bucket's region")
    with pytest.raises(ManifestError, match=r"in\.yaml:7:9: region: .* is not a valid region"):
        load_manifest(draft.path)


def test_a_file_is_never_overwritten() -> None:
    Path("talks.yaml").write_text("mine")

    with pytest.raises(ConfigError, match=r"talks\.yaml exists, and is not overwritten"):
        init("home/talks")
    assert Path("talks.yaml").read_text() == "mine"


def test_standard_output_writes_no_file() -> None:
    before = sorted(Path.cwd().iterdir())

    draft = init("home/talks", STDOUT)

    assert "folder: home/talks" in draft.text
    assert sorted(Path.cwd().iterdir()) == before


@pytest.mark.parametrize(
    ("source", "output", "region", "said"),
    [
        ("gone", None, None, '"gone" does not exist. Name a folder of media, a list file, or cos:'),
        ("home/talks/c.mp3", None, None, "To separate one file: orchestrator separate"),
        ("home/talks", "gone/x.yaml", None, "gone/x.yaml cannot be written: No such file"),
        ("home/talks", None, "ap-chongqing", "--region is only for cos://BUCKET/PREFIX"),
        ("cos://media/in", None, None, "includes the account number"),
        ("cos://media-1250000000", None, "ap-chonqing", "Did you mean ap-chongqing?"),
        ("s3://media-1250000000", None, None, "is not an address such as cos://BUCKET/PREFIX"),
    ],
)
def test_what_cannot_be_used_is_refused(
    source: str, output: str | None, region: str | None, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        init(source, Path(output) if output else None, region)

    assert said in str(caught.value)
    assert not list(Path.cwd().glob("*.yaml"))


def test_a_list_of_absolute_paths_is_refused_with_the_way_out(music: Path) -> None:
    Path("l.txt").write_text(f"{music}/a.mp3\n")

    with pytest.raises(ConfigError, match=r"names absolute paths .* orchestrator separate"):
        init("l.txt")
