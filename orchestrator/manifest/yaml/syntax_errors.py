"""What YAML itself is famous for, each in a sentence that says what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from orchestrator.domain.wording import quoted
from orchestrator.errors import Fault

if TYPE_CHECKING:
    from yaml.error import Mark

_EXPLAINED = (
    # part of the parser's own words -> what a person can do about it
    (
        "mapping values are not allowed",
        "A colon stands where no new key can begin. Put quotes around a text that contains ': ', or look at the indentation.",
    ),
    (
        "did not find expected key",
        "A key was expected here. Look at the indentation of this line and the one before it, and at quotes and brackets.",
    ),
    (
        "could not find expected ':'",
        "A key without its colon. Write 'key: value', with a space after the colon.",
    ),
    (
        "did not find expected '-' indicator",
        "An item of a list was expected here. Items begin with '- ' and stand in the same column.",
    ),
    (
        "did not find expected ',' or ']'",
        "A list in brackets is not closed, or a comma is missing.",
    ),
    (
        "did not find expected ',' or '}'",
        "A mapping in braces is not closed, or a comma is missing. A text that begins with { needs quotes around it.",
    ),
    (
        "found unexpected end of stream",
        "The file ends in the middle of a text in quotes. Close the quotes.",
    ),
    (
        "found undefined tag handle",
        "Tags (!...) are not used in a manifest. Put quotes around a text that begins with '!'.",
    ),
    (
        "control characters are not allowed",
        "A control character stands here that no text file should contain. Remove it.",
    ),
    (
        "block sequence entries are not allowed",
        "A list item ('- ') cannot begin here. Put it on a line of its own, under its key.",
    ),
    (
        "did not find expected alphabetic",
        'A text that begins with * or & needs quotes around it: write "*.mp3", not *.mp3.',
    ),
    (
        "did not find expected <document start>",
        "Something stands here after the end of the manifest. Look at the indentation of this line.",
    ),
    (
        "found unknown escape character",
        "Inside \"double quotes\" a backslash begins an escape. Use 'single quotes' around a text with backslashes.",
    ),
)


_UNQUOTED_BRACES = re.compile(r"[:-]\s+\{[^{}:]*\}[^\s,}\]#]")
"""``voice: {stem}/voice.mp3``"""


def tag_message(tag: str) -> str:
    """What to say about ``!!python/object`` and its like."""
    shown = tag.replace("tag:yaml.org,2002:", "!!")
    return f"The tag {quoted(shown)} is not used in a manifest, and no object is ever made from one. Write the value without it."


def syntax_fault(file: str, text: str, error: yaml.YAMLError) -> Fault:
    """The parser's complaint as a fault that helps."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Fault(_unreadable(error), file=file)
    mark: Mark | None = error.problem_mark or error.context_mark
    problem = error.problem or "it cannot be read"
    if mark is None:
        return Fault(f"This is not YAML: {problem}.", file=file)
    line, column = mark.line + 1, mark.column + 1
    tab = _tab_near(text, mark.line)
    if tab is not None:
        return Fault(
            "A tab stands in the indentation. YAML allows only spaces there: replace it.",
            file,
            tab[0],
            tab[1],
        )
    if _UNQUOTED_BRACES.search(_line(text, mark.line)) or _UNQUOTED_BRACES.search(
        _line(text, mark.line - 1)
    ):
        return Fault(
            "A text that begins with { needs quotes around it, or YAML takes it for a mapping.",
            file,
            line,
            column,
        )
    for part, advice in _EXPLAINED:
        if part in problem:
            return Fault(advice, file, line, column)
    return Fault(
        f"This is not YAML: {problem}. Look at this line and the one before it.", file, line, column
    )


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if 0 <= number < len(lines) else ""


def _unreadable(error: yaml.YAMLError) -> str:
    character = getattr(error, "character", None)
    if isinstance(character, int | str):
        code = character if isinstance(character, int) else ord(character[:1] or "\0")
        return f"The character U+{code:04X} must not stand in a manifest. Remove it."
    return f"This is not YAML: {error}."


def _tab_near(text: str, line: int) -> tuple[int, int] | None:
    """Line and column of a tab in the indentation of the marked line, or the one before it."""
    lines = text.splitlines()
    for number in (line, line - 1):
        if 0 <= number < len(lines):
            indentation = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
            if "\t" in indentation:
                return number + 1, indentation.index("\t") + 1
    return None
