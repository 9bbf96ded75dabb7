"""``orchestrator separate``: from an empty home to stems, without a manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from orchestrator.separation.install.installed import CACHE_VARIABLE, cache_dir
from tests.e2e.playground import Playground
from tests.e2e.test_embedded import write_tone

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def alone(tmp_path: Path) -> Playground:
    """A folder with two tones and another file, without credentials."""
    place = Playground(tmp_path)
    place.environment = {
        "TENCENTCLOUD_SECRET_ID": None,
        "TENCENTCLOUD_SECRET_KEY": None,
        CACHE_VARIABLE: str(cache_dir()),
    }
    for name in ("talks/a.WAV", "song.wav"):
        write_tone(tmp_path / name, 0.2)
    (tmp_path / "talks/notes.txt").write_text("notes")
    return place


def stems(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*.mp3") if each.is_file()}


@pytest.mark.slow
@pytest.mark.engine
def test_files_and_folders_become_stems_and_running_again_resumes(alone: Playground) -> None:
    first = alone.do("separate", "song.wav", "talks")
    (alone.folder / "talks/bad.mp3").write_bytes(b"no sound")
    second = alone.do("separate", "song.wav", "talks", "--quiet")
    write_tone(alone.folder / "talks/bad.mp3", 0.2)
    third = alone.do("separate", "song.wav", "talks", "--json")
    status = alone.do("status", "stems/.separate.yaml", "--json")

    made = ("song.wav", "talks/a.WAV", "talks/bad.mp3")
    assert first.code == 0, first.err
    for name in ("song.wav", "talks"):
        assert f"stems: {alone.folder}/stems/{name}\n" in first.out
    assert '1 skipped: 1 file that is not media ("notes.txt").' in first.err
    assert stems(alone.folder / "stems") == {
        f"{name}/{stem}.mp3" for name in made for stem in ("voice", "background")
    }
    assert second.code == 1
    assert "failed bad.mp3: ResourceNotSupported" in second.err
    assert third.code == 0, third.err
    assert third.json()["jobs"]["skipped"] == 2
    assert third.json()["calls"]["submits"] == 1
    assert status.json()["run"] == third.json()["run"]
    assert {path.name for path in alone.folder.iterdir()} <= {"talks", "song.wav", "stems", "home"}


def test_a_missing_engine_is_said_before_anything_is_made(alone: Playground) -> None:
    done = alone.do("separate", "song.wav", env={CACHE_VARIABLE: str(alone.folder / "none")})

    assert done.code == 2
    assert done.err.count("\n") == 1
    assert done.err.endswith("run: orchestrator fetch-engine\n")
    assert not (alone.folder / "stems").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone.wav"], '"gone.wav" does not exist. Name a file or a folder.'),
        (["song.wav", "--codec", "ogg"], "--codec ogg: write aac, mp3, flac, amr or wav."),
        (["song.wav", "-o", "song.wav"], "Choose another folder for the stems with -o DIR."),
    ],
)
@pytest.mark.engine
def test_a_wrong_request_is_refused_in_one_line(
    alone: Playground, arguments: list[str], said: str
) -> None:
    done = alone.do("separate", *arguments)

    assert done.code == 2
    assert done.err.count("\n") == 1
    assert said in done.err


@pytest.mark.engine
def test_a_dry_run_shows_the_jobs_and_makes_none(alone: Playground) -> None:
    done = alone.do("separate", "talks", "-o", "out", "--dry-run", "--json")

    assert done.code == 0
    assert done.json()["jobs"]["to_do"] == 1
    assert not stems(alone.folder / "out")
