"""The words of the product: no riddles, and docstrings that begin with a verb or a noun."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.repository import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

BANNED = (
    r"anew", r"mend(?:s|ed|ing)?", r"nobody", r"somebody", r"told", r"for good", r"(?:is|are) over",
    r"goes? on", r"going on", r"so (?:long|many|much|often|far)(?! as)",
    r"(?<!there )(?:is|are) no (?!longer|more|such\b)[a-z]+", r"1 jobs", r"befalls?",
    r"forth and back", r"who wants", r"wants to know", r"as a rule",
)  # fmt: skip
PATTERN = re.compile(rf"\b(?:{'|'.join(BANNED)})\b", re.IGNORECASE)
OPENINGS = frozenset(
    ["What", "Whether", "Who", "Whom", "Whose", "Where", "Those", "Which", "How", "When", "Why"]
)
PRODUCT = sorted((REPOSITORY / "orchestrator").rglob("*.py"))
DOCUMENTS = sorted(
    [
        *(REPOSITORY / "docs").glob("*.md"),
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("manifests/*.yaml"),
    ]
)
TESTS = sorted({*(REPOSITORY / "tests").rglob("*.py")} - {Path(__file__).resolve()})
ROOMS = sorted({path.relative_to(REPOSITORY).parts[1] for path in PRODUCT})


def room(name: str) -> list[Path]:
    return [path for path in PRODUCT if path.relative_to(REPOSITORY).parts[1] == name]


def banned_in(path: Path) -> Iterator[str]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        for found in PATTERN.finditer(line):
            yield f"{path.relative_to(REPOSITORY)}:{number}: {found[0]!r} in {line.strip()!r}"


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Docstrings, and the strings that describe attributes and constants."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))) if text.strip():
                yield node.lineno, text.strip()
            case _:
                pass


@pytest.mark.parametrize("name", ROOMS)
def test_no_banned_word_is_in_a_room(name: str) -> None:
    assert [found for path in room(name) for found in banned_in(path)] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_no_banned_word_is_in_a_document(path: Path) -> None:
    assert list(banned_in(path)) == []


def test_no_banned_word_is_in_a_test() -> None:
    assert [found for path in TESTS for found in banned_in(path)] == []


@pytest.mark.parametrize("name", ROOMS)
def test_docstrings_begin_with_a_verb_or_a_noun(name: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{line}: {text.splitlines()[0]}"
        for path in room(name)
        for line, text in docstrings(path)
        if text.split()[0] in OPENINGS
    ]

    assert found == []


def test_the_banned_words_are_found() -> None:
    """A pattern that matches nothing would prove nothing."""
    said = "1 jobs: nobody was told that it is over, and it goes on so long; it is no date; mend it"

    assert len(PATTERN.findall(said)) == 8
