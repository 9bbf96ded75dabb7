"""The help of each verb ends with examples that can be typed as they are."""

from __future__ import annotations

import re
import shlex

import pytest
import typer.main

from orchestrator.cli.app import VERBS as NAMES
from orchestrator.cli.app import app_with
from orchestrator.cli.examples import EXAMPLES, epilog

VERBS = typer.main.get_group(app_with(NAMES)).commands


def test_every_verb_has_examples() -> None:
    assert set(EXAMPLES) == set(VERBS)


@pytest.mark.parametrize("verb", EXAMPLES)
def test_every_example_can_be_typed(verb: str) -> None:
    for example in EXAMPLES[verb]:
        typed = re.split(r"\s{2,}", example)[0]

        VERBS[verb].make_context(verb, shlex.split(typed))


def test_an_unknown_option_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        VERBS["run"].make_context("run", ["nightly.yaml", "--gone"])


@pytest.mark.parametrize("verb", EXAMPLES)
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_lines_of_the_help_fit_the_terminal(verb: str, columns: int) -> None:
    context = VERBS[verb].make_context(
        verb, ["--help"], resilient_parsing=True, terminal_width=columns, max_content_width=columns
    )

    lines = VERBS[verb].get_help(context).splitlines()

    examples = epilog(verb).splitlines()[1:]
    assert [line.strip() for line in lines[-len(examples) :]] == [each.strip() for each in examples]
    assert max(len(line) for line in lines[: -len(examples)]) <= columns
    assert max(len(line) for line in lines) <= 80 or columns > 80


@pytest.mark.parametrize("verb", EXAMPLES)
@pytest.mark.parametrize("columns", [60, 80, 120])
def test_no_word_of_the_help_is_cut(verb: str, columns: int) -> None:
    """A name, a path or an address that is broken over two lines cannot be read or copied.

    A plain word may be divided at its hyphen.
    """
    command = VERBS[verb]
    context = command.make_context(
        verb, ["--help"], resilient_parsing=True, terminal_width=columns, max_content_width=columns
    )

    shown = set(command.get_help(context).split())

    written = " ".join(
        text
        for one in command.params
        for text in (getattr(one, "help", None) or "", getattr(one, "metavar", None) or "")
    )
    words = {word for word in written.split() if not re.fullmatch(r"[a-z]{3,}-[a-z]+,?", word)}
    assert words - shown - _bare(shown) == set()


def _bare(words: set[str]) -> set[str]:
    """Return the words without the marks that a usage line puts around them."""
    return {word.strip("[]{}.") for word in words}
