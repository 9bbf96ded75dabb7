"""The example manifests: complete, written with all that they need, and never over other files."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from orchestrator.commands.examples import EXAMPLES, example_text, write_example
from orchestrator.errors import ConfigError
from orchestrator.manifest import load_manifest

REPOSITORY = Path(__file__).resolve().parents[3]
MANIFESTS = REPOSITORY / "manifests"


def test_every_manifest_of_the_repository_is_an_example_and_comes_with_the_package() -> None:
    """Built by hand only: see the list of files in pyproject.toml."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    packed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]

    names = {path.stem for path in MANIFESTS.glob("*.yaml")}

    assert set(EXAMPLES) == names
    assert {Path(source).stem for source in packed if source.endswith(".yaml")} == names
    assert all(
        target == source.replace("manifests", "orchestrator/examples", 1)
        for source, target in packed.items()
    )
    assert all((REPOSITORY / source).exists() for source in packed)


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_sound_where_it_is_written(name: str, tmp_path: Path) -> None:
    written = write_example(name, tmp_path / "new")

    manifest = load_manifest(written.path, {"year": "2016"} if name == "backfill" else {})
    assert manifest.inputs
    assert "manifests/" not in written.path.read_text()
    assert len([path for path in (tmp_path / "new").rglob("*") if path.is_file()]) == (
        written.others + 1
    )
    if manifest.is_local:
        assert written.others >= 8, "the demo media"


def test_an_example_is_written_twice_but_not_over_a_changed_file(tmp_path: Path) -> None:
    first = write_example("demo", tmp_path)
    again = write_example("demo", tmp_path)
    assert (first.is_new, again.is_new) == (True, False)
    assert (again.path, again.others) == (first.path, first.others)
    assert write_example("matrix", tmp_path / "own.yaml").path == tmp_path / "own.yaml"
    first.path.write_text("mine")

    with pytest.raises(ConfigError, match=r"demo\.yaml exists, and is not overwritten.*-o DIR"):
        write_example("demo", tmp_path)

    assert first.path.read_text() == "mine"


def test_an_unknown_example_names_the_others(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--example nigthly: write demo, .*mean nightly\?"):
        write_example("nigthly", tmp_path)


def test_its_text_is_that_of_the_file(tmp_path: Path) -> None:
    assert example_text("demo") == write_example("demo", tmp_path).path.read_text()
