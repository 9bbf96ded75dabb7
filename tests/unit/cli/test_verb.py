"""An empty word on the command line comes from a variable that is not set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import typer.main

from orchestrator.cli.app import VERBS as KNOWN
from orchestrator.cli.app import app_with
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

VERBS: dict[str, Any] = vars(typer.main.get_command(app_with(KNOWN)))["commands"]
VALUED = [
    (verb, name)
    for verb, command in VERBS.items()
    for param in command.params
    if param.param_type_name == "option" and not param.is_flag
    for name in param.opts
]


@pytest.mark.parametrize(("verb", "option"), VALUED)
def test_no_option_takes_an_empty_value(verb: str, option: str) -> None:
    """An unset variable does not become the usual file, or the current folder."""
    with pytest.raises(ConfigError, match=f"^{option}: the value is empty"):
        VERBS[verb].main([option, ""], standalone_mode=False)


@pytest.mark.parametrize(("verb", "option"), [one for one in VALUED if one[1].startswith("--")])
def test_nor_does_it_behind_an_equals_sign(verb: str, option: str) -> None:
    """Both ways to write it count."""
    with pytest.raises(ConfigError, match=f"^{option}: the value is empty"):
        VERBS[verb].main([f"{option}="], standalone_mode=False)


@pytest.mark.parametrize("verb", [name for name, one in VERBS.items() if name != "fetch-engine"])
def test_no_argument_is_empty(verb: str) -> None:
    """``plan ""`` does not plan the current folder."""
    with pytest.raises(ConfigError, match=f"^An argument of {verb} is empty"):
        VERBS[verb].main([""], standalone_mode=False)


@pytest.mark.parametrize("words", [["--set", "date="], ["--set=date="], ["--only", "x="]])
def test_a_value_may_end_with_an_equals_sign(words: list[str], tmp_path: Path) -> None:
    """Only the whole value counts: an empty parameter is one that the user wrote."""
    missing = tmp_path / "missing.yaml"

    with pytest.raises(ConfigError, match="missing"):
        VERBS["plan"].main([str(missing), *words], standalone_mode=False)


def test_behind_two_dashes_a_file_may_have_any_name(tmp_path: Path) -> None:
    """There, ``--codec=`` is a file."""
    with pytest.raises(ConfigError, match="codec="):
        VERBS["separate"].main(["-o", str(tmp_path), "--", "--codec="], standalone_mode=False)
