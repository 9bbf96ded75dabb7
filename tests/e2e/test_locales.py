"""Locales of other encodings, and paths that are not UTF-8: names keep their bytes, or one line."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.e2e.playground import Playground

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.playground import RunningService

pytestmark = pytest.mark.slow

LEGACY: dict[str, str | None] = {
    "LC_ALL": "POSIX",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": None,
}


def _write(here: Playground) -> Path:
    (here.folder / "liste-é.txt").write_bytes("in/ça va.wav\n".encode())
    here.write(
        {"list": "liste-é.txt"},
        defaults={"output": {"voice": "stems/{stem}/voix-é.${ext}"}},
    )
    here.path = here.path.rename(here.folder / "albüm.yaml")
    return here.path


def test_a_run_works_in_the_posix_locale(here: Playground, service: RunningService) -> None:
    name = _write(here).name

    done = here.do("run", name, "--only", "in/ç*", "--log-json", env=LEGACY)

    assert done.code == 0, done.err
    assert len(service.jobs()) == 1
    assert here.rows(0)[0]["files"][0]["object"].startswith("stems/ça va/voix-é.")


@pytest.mark.parametrize(("verb", "code"), [("plan", 0), ("status", 0), ("cancel", 2)])
def test_every_verb_works_in_the_posix_locale(here: Playground, verb: str, code: int) -> None:
    done = here.do(verb, _write(here).name, env=LEGACY)

    assert done.code == code, done.err
    assert "Traceback" not in done.err
    assert (code == 0) or "There are no runs yet" in done.err


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_terminal_of_another_encoding_gets_escapes(here: Playground, encoding: str) -> None:
    (here.folder / "l.txt").write_bytes("/晚安\n".encode())
    here.write({"list": "l.txt"})
    here.environment |= {"PYTHONIOENCODING": encoding}

    done = here.do("validate", here.path.name)

    assert done.code == 2
    assert "\\u665a\\u5b89" in done.err


def test_objects_of_the_embedded_service_are_found_in_the_posix_locale(tmp_path: Path) -> None:
    here = Playground(tmp_path)
    folder = tmp_path / "objects/media-1250000000/in"
    folder.mkdir(parents=True)
    (folder / "été.wav").write_bytes(b"RIFF")
    here.write({"prefix": "in/é"}, service={"local": {"root": "objects"}})

    done = here.do("plan", here.path.name, "--explain", "in/été.wav", env=LEGACY)

    assert done.code == 0, done.err
    assert "stems/été/voice" in done.out


@pytest.mark.parametrize("verb", ["validate", "run", "status"])
def test_a_folder_that_is_not_utf_8_is_refused_in_one_line(here: Playground, verb: str) -> None:
    folder = here.folder / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    name = here.write("in/a.mp3").name
    (here.folder / name).rename(folder / name)

    done = here.do(verb, f"{folder}/{name}")

    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert "caf\\xe9" in done.err


@pytest.mark.parametrize("option", ["--ledger", "--report"])
def test_an_option_whose_path_is_not_utf_8_is_refused_in_one_line(
    here: Playground, option: str
) -> None:
    name = here.write("in/a.mp3").name

    done = here.do("run", name, option, f"{here.folder}/" + os.fsdecode(b"caf\xe9.jsonl"))

    assert (done.code, done.err.count("\n")) == (2, 1), done.err
