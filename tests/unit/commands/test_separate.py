"""The manifest that ``separate`` writes, and the names that it gives."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
import pytest
import yaml

from orchestrator.commands import separate
from orchestrator.commands.options import ManifestSource
from orchestrator.commands.separate import Request, prepare
from orchestrator.errors import ConfigError
from orchestrator.manifest.planning.spec_stream import Feed
from orchestrator.manifest.sources.folder import SEPARATE_MANIFEST
from orchestrator.server.storage.folder_store import FolderStore

if TYPE_CHECKING:
    from orchestrator.manifest import Manifest


@pytest.fixture(autouse=True)
def music(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some files; the engine counts as installed."""
    monkeypatch.setattr(separate, "check_ready", lambda: None)
    monkeypatch.chdir(tmp_path)
    for name in (
        "music/a.mp3",
        "music/in/b.wav",
        "other/a.mp3",
        "x/music/c.mp3",
        "odd/{a} [b]*.mp3",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


async def voices(manifest: Manifest) -> dict[str, str]:
    """Return the keys of the jobs of a manifest, by the name of the voice stem."""
    async with FolderStore(manifest.folder / "root", manifest.buckets) as store:
        specs = [spec async for batch in Feed(manifest, store).specs() for spec in batch]
    assert len({spec.output.voice for spec in specs}) == len(specs)
    return {spec.output.voice.removesuffix("/voice.${ext}"): spec.key for spec in specs}


def prepared(*paths: str | Path, output: str | None = None, save: str | None = None) -> Manifest:
    request = Request(
        tuple(Path(path) for path in paths), Path(output) if output else None,
        save=Path(save) if save else None,
    )  # fmt: skip
    return prepare(request)[0].load()


async def test_files_and_folders_have_names_of_their_own() -> None:
    manifest = prepared("music", "other/a.mp3", "x/music")

    assert set(await voices(manifest)) == {
        "music/a.mp3", "music/in/b.wav", "a.mp3", "music (2)/c.mp3",
    }  # fmt: skip
    assert manifest.buckets["stems"] == Path.cwd() / "stems"


async def test_a_later_call_keeps_the_names_and_never_takes_one_of_another_file() -> None:
    first = await voices(prepared("music/a.mp3"))

    second = await voices(prepared("other/a.mp3"))
    both = await voices(prepared("other/a.mp3", "music/a.mp3"))

    assert (list(first), list(second)) == (["a.mp3"], ["a (2).mp3"])
    assert both == {**first, **second}


async def test_names_that_differ_only_in_case_do_not_collide(music: Path) -> None:
    (music / "other/A.MP3").touch()

    assert set(await voices(prepared("music/a.mp3", "other/A.MP3"))) == {"a.mp3", "A (2).MP3"}


async def test_a_file_in_a_named_folder_and_a_path_given_twice_are_one_input() -> None:
    assert set(await voices(prepared("music", "music/a.mp3", "./music/in/..", "music"))) == {
        "music/a.mp3",
        "music/in/b.wav",
    }


async def test_a_name_with_characters_of_templates_and_globs_means_that_file(music: Path) -> None:
    (music / "odd/{a} [b]xx.mp3").touch()
    (music / "odd/{a} [b]*.mp3.bak").touch()
    (music / "odd/x${ext}.mp3").touch()

    found = await voices(prepared("odd/{a} [b]*.mp3", "odd/x${ext}.mp3"))

    assert set(found) == {"{a} [b]*.mp3", "x_{ext}.mp3"}


async def test_a_link_keeps_its_name_and_its_content_is_separated(music: Path) -> None:
    (music / "talk.mp3").symlink_to(music / "music/a.mp3")
    (music / "talks").symlink_to(music / "x/music")

    assert set(await voices(prepared("talk.mp3", "talks"))) == {"talk.mp3", "talks/c.mp3"}


@pytest.mark.parametrize("output", ["music/stems", "music"])
async def test_stems_within_the_folder_are_not_inputs(music: Path, output: str) -> None:
    first = await voices(prepared("other/a.mp3", "music", output=output))
    for name in first:
        (music / output / name).mkdir(parents=True)
        (music / output / name / "voice.mp3").touch()

    again = await voices(prepared("music", output=output))

    assert set(again) == {"music/a.mp3", "music/in/b.wav"}
    # A file of that name is in the way if the stems are beside it.
    assert set(first) - set(again) == {"a.mp3" if output == "music/stems" else "a (2).mp3"}


async def test_the_stems_may_be_moved_with_the_files_or_without(music: Path) -> None:
    before = await voices(prepared("music", "other/a.mp3"))

    shutil.move("stems", "kept")
    alone = await voices(prepared("music", "other/a.mp3", output="kept"))
    (music / "new").mkdir()
    for name in ("kept", "music", "other"):
        shutil.move(name, f"new/{name}")
    os.chdir(music / "new")
    together = await voices(prepared("music", "other/a.mp3", output="kept"))

    assert before == alone == together


@pytest.mark.parametrize("kind", ["folder", "file", "broken link"])
async def test_what_is_in_the_folder_of_the_stems_already_is_not_written_to(
    music: Path, kind: str
) -> None:
    theirs = music / "stems/music"
    theirs.parent.mkdir()
    if kind == "folder":
        theirs.mkdir()
    elif kind == "file":
        theirs.touch()
    else:
        theirs.symlink_to("nowhere")

    first = await voices(prepared("music"))
    (music / "stems/music (2)").mkdir()
    again = await voices(prepared("music"))

    assert set(first) == {"music (2)/a.mp3", "music (2)/in/b.wav"}
    assert again == first


async def test_a_folder_of_the_user_is_an_input_if_the_stems_are_beside_it(music: Path) -> None:
    shutil.copytree("music", "all/music")

    assert set(await voices(prepared("music", "all", output="all"))) == {
        "music (2)/a.mp3", "music (2)/in/b.wav", "all/music/a.mp3", "all/music/in/b.wav",
    }  # fmt: skip


async def test_inputs_that_are_still_there_keep_their_names_when_the_stems_move(
    music: Path,
) -> None:
    first = await voices(prepared("music/a.mp3", "other/a.mp3", output="other/stems"))
    shutil.move("other/stems", "music/stems")

    again = await voices(prepared("music/a.mp3", "other/a.mp3", output="music/stems"))

    assert again == first
    assert len(again) == 2


async def test_two_inputs_never_become_one_when_the_stems_move(music: Path) -> None:
    prepared("music/a.mp3", "other/a.mp3", output="other/stems")
    shutil.move("other/stems", "music/stems")
    (music / "other/a.mp3").unlink()

    assert list(await voices(prepared("music/a.mp3", output="music/stems"))) == ["a.mp3"]
    names = orjson.loads((music / "music/stems/.orchestrator/names.json").read_bytes())["stems"]
    assert len(set(names.values())) == 2


async def test_stems_of_another_call_are_not_inputs(music: Path) -> None:
    for output in ("music/in/one", "two"):
        prepared("other", output=output)
        (music / output / "other/a.mp3").mkdir(parents=True)
        (music / output / "other/a.mp3/voice.mp3").touch()

    found = await voices(prepared(".", output="three"))

    assert not [name for name in found if name.endswith("voice.mp3")]
    assert len(found) == 5


async def test_media_beside_stems_of_an_earlier_call_are_inputs(music: Path) -> None:
    prepared("music/a.mp3", output="music")
    for name in ("a.mp3 (2)", "a (2).mp3"):
        (music / "music" / name).mkdir(exist_ok=True)
        (music / "music" / name / "voice.mp3").touch()
    [top] = orjson.loads((music / "music/.orchestrator/names.json").read_bytes())["stems"]
    assert top == "a (2).mp3"

    found = await voices(prepared(".", output="out"))

    talks = {name for name in found if "/music/" in f"/{name}" and "x/music" not in name}
    assert {name.partition("/")[2] for name in talks} == {
        "music/a.mp3",
        "music/in/b.wav",
        "music/a.mp3 (2)/voice.mp3",
    }


@pytest.mark.parametrize(
    "name", [".hidden.mp3", "talk.unknown", ".in/a.mp3", "out/a.mp3", "stems/a.mp3"]
)
async def test_a_named_file_is_an_input_though_the_walk_of_its_folder_skips_it(
    music: Path, name: str
) -> None:
    file = music / "music" / name
    file.parent.mkdir(exist_ok=True)
    file.touch()
    (music / "music/out").mkdir(exist_ok=True)
    (music / "music/out" / SEPARATE_MANIFEST).touch()

    found = await voices(prepared("music", file, output="music/stems"))

    assert set(found) - {"music/a.mp3", "music/in/b.wav"} <= {file.name, "a (2).mp3"}
    assert len(found) == 3


async def test_a_hidden_folder_is_an_input_if_it_is_named(music: Path) -> None:
    shutil.copytree("other", "music/.in")

    found = await voices(prepared("music", "music/.in", "music/.in/a.mp3"))

    assert set(found) == {"music/a.mp3", "music/in/b.wav", ".in/a.mp3"}


async def test_a_saved_manifest_makes_the_same_jobs_and_says_how_to_run_it(music: Path) -> None:
    manifest = prepared("music", save="mine.yaml")

    text = (music / "mine.yaml").read_text()
    saved = ManifestSource(music / "mine.yaml").load()

    assert await voices(saved) == await voices(manifest)
    assert f"orchestrator run mine.yaml --ledger {music}/stems/.orchestrator/separate.db" in text
    assert yaml.safe_load(text)["inputs"][0]["folder"] == str(music / "music")
    with pytest.raises(ConfigError, match=r"mine\.yaml: the file exists"):
        prepared("music", save="mine.yaml")


@pytest.mark.parametrize(
    ("paths", "output", "codec", "said"),
    [
        (["gone.mp3"], None, "mp3", '"gone.mp3" does not exist'),
        (
            ["music", os.fsdecode(b"caf\xe9.mp3")],
            None,
            "mp3",
            r"caf\xe9.mp3: the name is not UTF-8",
        ),
        (["music"], None, "mp4", "write aac, mp3, flac, amr or wav. Did you mean mp3?"),
        (["music"], "music/a.mp3", "mp3", "Choose another folder for the stems with -o DIR"),
        (["/dev/null"], None, "mp3", "neither a file nor a folder"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    paths: list[str], output: str | None, codec: str, said: str
) -> None:
    request = Request(tuple(map(Path, paths)), Path(output) if output else None, codec)

    with pytest.raises(ConfigError) as caught:
        prepare(request)

    assert said in str(caught.value)
    assert not Path("stems").exists()


def test_damaged_names_are_refused_with_a_way_out() -> None:
    prepared("music")
    Path("stems/.orchestrator/names.json").write_text("{")

    with pytest.raises(ConfigError, match=r"names\.json is damaged. Choose another folder with -o"):
        prepared("music")


def test_the_manifest_has_relative_paths(music: Path) -> None:
    prepared("music")

    written = yaml.safe_load((music / "stems" / SEPARATE_MANIFEST).read_text())

    assert written["inputs"][0]["folder"] == "../music"
    assert written["service"]["local"]["buckets"] == {"stems": ".", "music": "../music"}
