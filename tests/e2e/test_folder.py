"""A folder of media is separated in place, from an empty home, without an account."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.install.installed import CACHE_VARIABLE, cache_dir
from tests.e2e.playground import Playground
from tests.e2e.test_embedded import write_tone

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.engine]


@pytest.fixture
def alone(tmp_path: Path) -> Playground:
    """A folder with a manifest of one folder of tones, without credentials."""
    folder = tmp_path / "work"
    folder.mkdir()
    place = Playground(folder)
    place.environment = {
        "TENCENTCLOUD_SECRET_ID": None,
        "TENCENTCLOUD_SECRET_KEY": None,
        CACHE_VARIABLE: str(cache_dir()),
    }
    for name in ("talks/a.WAV", "talks/2024/b.wav"):
        write_tone(folder / name, 0.2)
    (folder / "talks/notes.txt").write_text("notes")
    (folder / "talks/.DS_Store").touch()
    place.path.write_text(
        "inputs: [{folder: talks}]\ndefaults: {operation: {audio: {codec: mp3}}}\n"
    )
    return place


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


STEMS = {
    f"talks/{name}/{stem}.mp3"
    for name in ("a.WAV", "2024/b.wav")
    for stem in ("voice", "background")
}


def test_a_folder_is_separated_in_place_once_and_the_end_says_where_the_stems_are(
    alone: Playground,
) -> None:
    before = files(alone.folder / "talks")

    first = alone.run()
    again = alone.run("--json")
    planned = alone.do("plan", alone.path.name)

    assert first.code == 0, first.err
    assert files(alone.folder / "stems") == STEMS
    assert files(alone.folder / "talks") == before
    assert f"stems: {alone.folder}/stems/talks" in first.out
    skipped = "album.yaml:1:10: inputs[0]: 2 skipped: "
    assert skipped in first.err
    assert skipped in " ".join(planned.out.split())
    assert (again.json()["jobs"]["skipped"], again.json()["calls"]["submits"]) == (2, 0)
    assert again.json()["stems"] == [f"{alone.folder}/stems/talks"]


def test_a_folder_moved_together_with_its_ledger_is_the_same_folder(
    alone: Playground, tmp_path: Path
) -> None:
    assert alone.run().code == 0
    write_tone(alone.folder / "talks/new.wav", 0.2)

    shutil.move(alone.folder, tmp_path / "elsewhere")
    alone.folder = tmp_path / "elsewhere"
    planned = alone.do("plan", alone.path.name, "--json")
    done = alone.run("--json")

    assert planned.json()["jobs"]["to_do"] == 1
    assert done.code == 0, done.err
    assert (done.json()["jobs"]["skipped"], done.json()["jobs"]["succeeded"]) == (2, 1)
    assert (alone.folder / "stems/talks/new.wav/voice.mp3").exists()


def test_buckets_may_be_folders_anywhere_without_an_account_number(
    alone: Playground, tmp_path: Path
) -> None:
    shutil.move(alone.folder / "talks", tmp_path / "music")
    alone.path.write_text(
        "service: {local: {buckets: {talks: ../music, out: made/here}}}\n"
        "bucket: talks\n"
        'defaults: {output: {bucket: out, voice: "{stem}.${ext}"}}\n'
        'inputs: [{prefix: "2024/"}]\n'
    )

    done = alone.run()

    assert done.code == 0, done.err
    assert files(alone.folder / "made") == {"here/b.aac"}
    assert f"stems: {alone.folder}/made/here" in done.out
    assert not files(tmp_path / "music") - {"a.WAV", "2024/b.wav", "notes.txt", ".DS_Store"}


def test_a_missing_engine_is_said_before_anything_is_made(alone: Playground) -> None:
    done = alone.run(env={CACHE_VARIABLE: str(alone.folder / "none")})

    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.endswith("run: orchestrator fetch-engine\n")
    assert not (alone.folder / "stems").exists()


def test_a_rehearsal_of_a_folder_needs_no_engine(alone: Playground) -> None:
    (alone.folder / "faults.yaml").write_text("progression: {pace: immediate}\n")

    done = alone.run("--rehearse", "faults.yaml", env={CACHE_VARIABLE: str(alone.folder / "none")})

    assert done.code == 0, done.err
    assert "rehearsal: good" in done.out
