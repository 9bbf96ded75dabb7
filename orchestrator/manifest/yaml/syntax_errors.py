"""Messages for syntax errors of YAML, each with the next step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from orchestrator.domain.wording import quoted
from orchestrator.errors import Fault
from orchestrator.manifest.yaml.typography import line_fault

if TYPE_CHECKING:
    from yaml.error import Mark

# libyaml names a problem only by its text, so the text selects the message.
_EXPLAINED = {
    "mapping values are not allowed": (
        "A colon is in a place where a key cannot begin. Put quotes around text that contains "
        "': ', or check the indentation."
    ),
    "did not find expected key": (
        "Expected a key here. Check the indentation of this line and the line before, and quotes "
        "and brackets."
    ),
    "could not find expected ':'": (
        "A key without a colon. Write 'key: value', with a space after the colon."
    ),
    "did not find expected '-' indicator": (
        "Expected a list item here. Items begin with '- ' in the same column."
    ),
    "did not find expected ',' or ']'": "A list in brackets is not closed, or a comma is missing.",
    "did not find expected ',' or '}'": (
        "A mapping in braces is not closed, or a comma is missing. Text that begins with { needs "
        "quotes around it."
    ),
    "found unexpected end of stream": (
        "The file ends in the middle of quoted text. Close the quotes."
    ),
    "found undefined tag handle": (
        "Manifests do not use tags (!...). Put quotes around text that begins with '!'."
    ),
    "control characters are not allowed": (
        "Here is a control character, which does not belong in a text file. Remove it."
    ),
    "block sequence entries are not allowed": (
        "A list item ('- ') cannot begin here. Put it on a separate line, under its key."
    ),
    "did not find expected alphabetic": (
        'Text that begins with * or & needs quotes around it: write "*.mp3", not *.mp3.'
    ),
    "did not find expected <document start>": (
        "Here is text after the end of the manifest. Check the indentation of this line."
    ),
    "found unknown escape character": (
        "A backslash begins an escape inside \"double quotes\". Use 'single quotes' around text "
        "with backslashes."
    ),
}


_UNQUOTED_BRACES = re.compile(r"[:-]\s+\{[^{}:]*\}[^\s,}\]#]")
"""``voice: {stem}/voice.mp3``"""


def tag_message(tag: str) -> str:
    """Return the message about ``!!python/object`` and other tags."""
    shown = quoted(tag.replace("tag:yaml.org,2002:", "!!"))
    return f"Manifests do not use tags such as {shown}, and never create objects. Remove the tag."


def syntax_fault(file: str, text: str, error: yaml.YAMLError) -> Fault:
    """Return an error of the parser as a fault with the next step."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return Fault(_unreadable(error), file=file)
    mark: Mark | None = error.problem_mark or error.context_mark
    problem = error.problem or "it cannot be read"
    if mark is None:
        return Fault(f"This is not YAML: {problem}.", file=file)
    line, column = mark.line + 1, mark.column + 1
    for near in (error.context_mark, mark):
        found = line_fault(_line(text, near.line)) if near is not None else None
        if near is not None and found is not None:
            return Fault(found[0], file, near.line + 1, found[1])
    tab = _tab_near(text, mark.line)
    if tab is not None:
        message = "The indentation has a tab. YAML allows only spaces there: replace it."
        return Fault(message, file, *tab)
    if any(_UNQUOTED_BRACES.search(_line(text, near)) for near in (mark.line, mark.line - 1)):
        message = "Text that begins with { needs quotes around it, or YAML reads it as a mapping."
        return Fault(message, file, line, column)
    advice = next((advice for part, advice in _EXPLAINED.items() if part in problem), None)
    message = f"This is not YAML: {problem}. Check this line and the line before."
    return Fault(advice or message, file, line, column)


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number] if 0 <= number < len(lines) else ""


def _unreadable(error: yaml.YAMLError) -> str:
    character = getattr(error, "character", None)
    if isinstance(character, int | str):
        code = character if isinstance(character, int) else ord(character[:1] or "\0")
        return f"The character U+{code:04X} is not allowed in a manifest. Remove it."
    return f"This is not YAML: {error}."


def _tab_near(text: str, line: int) -> tuple[int, int] | None:
    """Return line and column of a tab in the indentation of the marked line or the line before."""
    lines = text.splitlines()
    for number in (line, line - 1):
        if 0 <= number < len(lines):
            indentation = lines[number][: len(lines[number]) - len(lines[number].lstrip())]
            if "\t" in indentation:
                return number + 1, indentation.index("\t") + 1
    return None
